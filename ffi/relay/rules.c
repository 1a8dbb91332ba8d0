#include "rules.h"

#include <stdio.h>

#define WRONG(...) (snprintf(problem, RULE_PROBLEM_SIZE, __VA_ARGS__), false)

static bool misplaced(const struct rules *rules, uint8_t type, char *problem) {
  const char *state = rules->exited ? "EXIT" : rules->failed ? "ERROR" : rules->replied ? "REPLY" : "no answer";
  return WRONG("%s came after %s", frame_name(type), state);
}

static bool receive_data(struct rules *rules, const struct frame *frame, char *problem) {
  if (!rules->replied || rules->failed) return misplaced(rules, frame->type, problem);
  unsigned channel = frame->flags & HUTCH_CHANNEL_MASK;
  uint8_t bit = (uint8_t)(1u << channel);
  if (channel == HUTCH_STDIN && frame->length > 0) return WRONG("DATA with bytes came on stdin");
  if (rules->ended & bit) return WRONG("DATA came after the end of channel %u", channel);
  if (frame->flags & HUTCH_END) rules->ended |= bit;
  if (channel == HUTCH_STDIN) return true;
  uint32_t total = rules->under_way[channel] + frame->length;
  if (total > rules->window)
    return WRONG("channel %u has %u bytes under way, over %u", channel, total, rules->window);
  rules->under_way[channel] = total;
  return true;
}

static bool receive_credit(struct rules *rules, const struct frame *frame, uint32_t count, char *problem) {
  unsigned channel = frame->flags & HUTCH_CHANNEL_MASK;
  uint32_t *stdin_bytes = &rules->under_way[HUTCH_STDIN];
  if (channel != HUTCH_STDIN) return WRONG("CREDIT came for channel %u", channel);
  if (!rules->replied) return misplaced(rules, frame->type, problem);
  if (count == 0 || count > *stdin_bytes)
    return WRONG("CREDIT of %u bytes isn't within 1 to the %u under way", count, *stdin_bytes);
  *stdin_bytes -= count;
  return true;
}

bool rules_receive(struct rules *rules, const struct frame *frame, uint32_t credit, char *problem) {
  switch (frame->type) {
  case HUTCH_DATA: return receive_data(rules, frame, problem);
  case HUTCH_CREDIT: return receive_credit(rules, frame, credit, problem);
  case HUTCH_REPLY:
    if (rules->replied || rules->failed) return misplaced(rules, frame->type, problem);
    rules->replied = true;
    return true;
  case HUTCH_ERROR:
    if (rules->failed) return misplaced(rules, frame->type, problem);
    rules->failed = true;
    return true;
  case HUTCH_EXIT:
    if (!rules->replied || rules->failed || rules->exited) return misplaced(rules, frame->type, problem);
    rules->exited = true;
    return true;
  case HUTCH_CLOSE: return true;
  default: return misplaced(rules, frame->type, problem);
  }
}

bool rules_send(struct rules *rules, uint32_t count) {
  if (count > rules->window - rules->under_way[HUTCH_STDIN]) return false;
  rules->under_way[HUTCH_STDIN] += count;
  return true;
}

bool rules_grant(struct rules *rules, unsigned channel, uint32_t count) {
  if (channel != HUTCH_STDOUT && channel != HUTCH_STDERR) return false;
  if (count == 0 || count > rules->under_way[channel]) return false;
  rules->under_way[channel] -= count;
  return true;
}

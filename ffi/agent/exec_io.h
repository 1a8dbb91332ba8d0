/* Inside of a command's input and output. */
#ifndef HUTCH_AGENT_EXEC_IO_H
#define HUTCH_AGENT_EXEC_IO_H

#include "exec.h"

/* The command's stdin can take more, or nobody has its reading end. */
void exec_on_input(struct watch *watch, uint32_t events);
/* Bytes of stdin were taken: the host gets credit for them. */
void exec_consumed(struct exec *exec, size_t bytes);
/* Nobody reads stdin any more. */
void exec_input_broken(struct exec *exec);
/* Says that nothing more comes; `number` is the channel's. There must be room. */
void exec_end_output(struct exec *exec, struct exec_output *output, unsigned number);

#endif

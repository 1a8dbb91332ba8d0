/* Checksums (crc32c) of the blocks that we build ourselves, as metadata_csum has them. */
#include "finish.h"

#include <string.h>

void put16(uint8_t *place, uint32_t value)
{
  place[0] = (uint8_t)value;
  place[1] = (uint8_t)(value >> 8);
}

void put32(uint8_t *place, uint32_t value)
{
  put16(place, value);
  put16(place + 2, value >> 16);
}

static uint32_t get16(const uint8_t *place)
{
  return place[0] | (uint32_t)place[1] << 8;
}

uint32_t inode_checksum_seed(const struct build *build, uint32_t number)
{
  uint8_t words[8] = {0}; /* the number and the generation, which is 0 */
  put32(words, number);
  return ext2fs_crc32c_le(build->checksum_seed, words, sizeof words);
}

void checksum_folder_block(uint32_t seed, uint8_t *block)
{
  uint8_t *tail = block + BLOCK_SIZE - 12;
  put32(tail, 0);
  put16(tail + 4, 12);
  tail[6] = 0;
  tail[7] = 0xde;
  put32(tail + 8, ext2fs_crc32c_le(seed, block, BLOCK_SIZE - 12));
}

/* `header` bytes come before the entries, the first of which holds limit and count. */
void checksum_index_block(uint32_t seed, uint8_t *block, size_t header)
{
  uint32_t limit = get16(block + header), count = get16(block + header + 2);
  uint8_t *tail = block + header + (size_t)limit * 8;
  memset(tail, 0, 8);
  uint32_t sum = ext2fs_crc32c_le(seed, block, header + (size_t)count * 8);
  put32(tail + 4, ext2fs_crc32c_le(sum, tail, 8));
}

void checksum_extent_block(uint32_t seed, uint8_t *block)
{
  put32(block + BLOCK_SIZE - 4, ext2fs_crc32c_le(seed, block, BLOCK_SIZE - 4));
}

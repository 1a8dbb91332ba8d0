/* zstd, frame by frame. See helper.h. */
#include "helper.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

/* As zstd's own program has it. */
#define LEVEL 3

struct hutch_zstd {
  ZSTD_CCtx *packs;   /* made when first wanted, as the other one is */
  ZSTD_DCtx *unpacks;
};

int hutch_zstd_open(hutch_zstd **out)
{
  *out = calloc(1, sizeof **out);
  return *out == NULL ? -ENOMEM : 0;
}

static ZSTD_CCtx *packing(hutch_zstd *zstd)
{
  if (zstd->packs != NULL) return zstd->packs;
  ZSTD_CCtx *packs = ZSTD_createCCtx();
  if (packs == NULL) return NULL;
  if (ZSTD_isError(ZSTD_CCtx_setParameter(packs, ZSTD_c_compressionLevel, LEVEL)) ||
      ZSTD_isError(ZSTD_CCtx_setParameter(packs, ZSTD_c_checksumFlag, 1))) {
    ZSTD_freeCCtx(packs);
    return NULL;
  }
  return zstd->packs = packs;
}

int64_t hutch_zstd_pack(hutch_zstd *zstd, const uint8_t *plain, size_t length, uint8_t *frame,
                        size_t size)
{
  if (size < ZSTD_compressBound(length)) return -EINVAL;
  ZSTD_CCtx *packs = packing(zstd);
  if (packs == NULL) return -ENOMEM;
  size_t made = ZSTD_compress2(packs, frame, size, plain, length);
  return ZSTD_isError(made) ? -ENOMEM : (int64_t)made; /* nothing else is left to go wrong */
}

int64_t hutch_zstd_unpack(hutch_zstd *zstd, const uint8_t *frame, size_t length, uint8_t *plain,
                          size_t size)
{
  /* Skippable frames and those of old versions begin otherwise. */
  if (length < 4 || (frame[0] | frame[1] << 8 | frame[2] << 16 | (uint32_t)frame[3] << 24) !=
                        ZSTD_MAGICNUMBER)
    return -EBADMSG;
  /* One alone: several are unpacked in a row. */
  if (ZSTD_findFrameCompressedSize(frame, length) != length) return -EBADMSG;
  if (zstd->unpacks == NULL) zstd->unpacks = ZSTD_createDCtx();
  if (zstd->unpacks == NULL) return -ENOMEM;
  /* The window is what was unpacked itself: no size that a frame names is ever taken from memory. */
  size_t got = ZSTD_decompressDCtx(zstd->unpacks, plain, size, frame, length);
  return ZSTD_isError(got) ? -EBADMSG : (int64_t)got;
}

void hutch_zstd_close(hutch_zstd *zstd)
{
  if (zstd == NULL) return;
  ZSTD_freeCCtx(zstd->packs);
  ZSTD_freeDCtx(zstd->unpacks);
  free(zstd);
}

/* How fast this machine's processor counts. Part of the library that box processes load. */
#ifndef HUTCH_CLOCK_H
#define HUTCH_CLOCK_H

#include <stdint.h>

#pragma GCC visibility push(default)

/* kHz of the processor's time stamp counter, measured for 10 ms against the kernel's clock; 0 where it
 * has none that counts evenly at all times. Intel's manual, volume 3, "Invariant TSC". */
uint32_t hutch_clock_khz(void);

#pragma GCC visibility pop

#endif

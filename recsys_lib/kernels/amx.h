/* AMX: matrix units of x86 processors, 8 tiles of 16 rows of 64 bytes each; and sizes that both kernels round
 * up. */

#pragma once
#include <stdatomic.h>
#include <stdint.h>

#if defined(__linux__) && defined(__AMX_INT8__) && defined(__AMX_BF16__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#define AMX 1
#else
#define AMX 0
#endif

/* Whether there are matrix units here and the system lets them be used. */
static inline int amx_allowed(void) {
#if AMX
  static atomic_int known; /* 0 not asked, 1 allowed, 2 refused */
  if (!known)
    known = syscall(SYS_arch_prctl, 0x1023, 18) ? 2 : 1; /* ARCH_REQ_XCOMP_PERM for the data of tiles */
  return known == 1;
#else
  return 0;
#endif
}

#if AMX
/* All tiles at full size; a thread calls this before its first product, and _tile_release() after its last.
 */
static inline void amx_begin(void) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } config = {.palette = 1};
  for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = 16;
  _tile_loadconfig(&config);
}
#endif

static inline int64_t up_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

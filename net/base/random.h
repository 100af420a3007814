/* Random numbers. */
#ifndef FWI_RANDOM_H
#define FWI_RANDOM_H

#include <fairway/base.h>

/* Fast, seeded from the kernel, not for secrets. Any thread. */
FWI_API uint64_t fwi_random_u64(void);
/* Makes what follows on this thread repeatable: for simulations. */
FWI_API void fwi_random_seed(uint64_t seed);
/* Uniform in [0, bound); bound > 0. */
FWI_API uint32_t fwi_random_below(uint32_t bound);
/* For challenges and keys: from the kernel. Returns 0 or a libuv code. */
FWI_API int fwi_random_secret(void *ret_bytes, size_t len);

#endif

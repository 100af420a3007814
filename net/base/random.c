#include "base/random.h"

#include <errno.h>
#include <sys/random.h>

/* splitmix64 (S. Vigna, public domain reference), one state a thread. */
static _Thread_local uint64_t state;
static _Thread_local bool seeded;

uint64_t fwi_random_u64(void)
{
    if (!seeded) {
        if (fwi_random_secret(&state, sizeof state))
            state = (uint64_t)(uintptr_t)&state;
        seeded = true;
    }
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void fwi_random_seed(uint64_t seed)
{
    state = seed;
    seeded = true;
}

uint32_t fwi_random_below(uint32_t bound)
{
    /* Multiply-shift (D. Lemire, 2019); its bias of at most 2^-32 does not matter here. */
    return (uint32_t)(((fwi_random_u64() >> 32) * (uint64_t)bound) >> 32);
}

int fwi_random_secret(void *ret_bytes, size_t len)
{
    uint8_t *p = ret_bytes;
    while (len) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

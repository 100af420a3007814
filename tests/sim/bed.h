/* Registrars and watchers in a simulated world that goes wrong: see bed.c. */
#ifndef BED_H
#define BED_H

#include <stdint.h>

#define BED_FAILURE_BYTES 200

/* Before the first seed. */
void bed_set_up(void);
/* Of the machines: what time they think it is. */
typedef enum bed_clocks { BED_CLOCKS_WRONG, BED_CLOCKS_RIGHT } bed_clocks;
/* Lives through what a seed has in store. Returns the digest of all that happened. */
uint64_t bed_run_seed(uint64_t seed, bed_clocks clocks);
/* Of the last seed: which rule was broken first, by whom, and when; "": none. */
const char *bed_failure(void);

#endif

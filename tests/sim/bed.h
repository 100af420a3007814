/* Registrars and watchers in a simulated world that goes wrong: see bed.c. */
#ifndef BED_H
#define BED_H

#include <stdint.h>

#define BED_FAILURE_BYTES 200

/* Before the first seed. */
void bed_set_up(void);
/* Lives through what a seed has in store. Returns the digest of all that happened. */
uint64_t bed_run_seed(uint64_t seed);
/* Of the last seed: which rule was broken first, by whom, and when; "": none. */
const char *bed_failure(void);

#endif

/*
 * Outliers: endpoints that fail more than the others do (Envoy's outlier detection, success rate).
 * Once an interval the rates of all that had enough calls are added up; who is below the threshold
 * is ejected, as is who fails a number of times in a row (fwi_breaker). Pure.
 */
#ifndef FWI_OUTLIER_H
#define FWI_OUTLIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FWI_OUTLIER_INTERVAL_MS 10000
#define FWI_OUTLIER_REQUESTS    100 /* of an endpoint that is judged */

typedef struct fwi_outlier {
    size_t endpoints; /* with enough calls */
    double sum, squares;
} fwi_outlier; /* zero-initialised is an empty sum */

void fwi_outlier_add(fwi_outlier *outlier, uint32_t successes, uint32_t requests);
/* The success rate below which an endpoint is an outlier: the mean less 1.9 standard deviations. 0
 * if there are too few to say. */
double fwi_outlier_threshold(const fwi_outlier *outlier);

/* True if one more may be ejected: half of all must be left, counted and rounded up, so the only
 * one never goes. */
bool fwi_outlier_may_eject(size_t well, size_t count);

/* Fewer than this percentage are well: those that were ejected are no worse than a flood on the
 * rest, and get calls again (Envoy's panic threshold). */
bool fwi_outlier_is_panic(size_t well, size_t count, uint32_t percent);

#endif

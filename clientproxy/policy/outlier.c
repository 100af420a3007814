#include "policy/outlier.h"

#include <math.h>

#define LEAST_ENDPOINTS 5
#define DEVIATIONS      1.9

void fwi_outlier_add(fwi_outlier *outlier, uint32_t successes, uint32_t requests)
{
    if (requests < FWI_OUTLIER_REQUESTS)
        return;
    double rate = (double)successes / requests;
    outlier->endpoints++;
    outlier->sum += rate;
    outlier->squares += rate * rate;
}

double fwi_outlier_threshold(const fwi_outlier *outlier)
{
    if (outlier->endpoints < LEAST_ENDPOINTS)
        return 0;
    double count = (double)outlier->endpoints, mean = outlier->sum / count;
    double variance = outlier->squares / count - mean * mean;
    double threshold = mean - DEVIATIONS * sqrt(variance > 0 ? variance : 0);
    return threshold > 0 ? threshold : 0;
}

bool fwi_outlier_may_eject(size_t well, size_t count)
{
    return well > (count + 1) / 2;
}

bool fwi_outlier_is_panic(size_t well, size_t count, uint32_t percent)
{
    return well * 100 < count * percent;
}

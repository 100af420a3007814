/* Copies of filters. */
#ifndef FWI_FILTER_H
#define FWI_FILTER_H

#include <fairway/discovery.h>

/* A deep copy in one block, to be freed with free(). NULL: no memory. */
fw_instance_filter *fwi_filter_copy(const fw_instance_filter *from);

#endif

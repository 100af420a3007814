/* What is asked of an instance: the rules, and what its metadata says. */
#ifndef FWI_HEALTH_CHECK_H
#define FWI_HEALTH_CHECK_H

#include <fairway/health.h>

#define FWI_HEALTH_METADATA "health"

/* The rules of one fw_health: a copy, with the check of all others as the last. */
typedef struct fwi_health_rules {
    fw_health_rule *rules;
    size_t count;
    bool ignore_metadata;
} fwi_health_rules;

/* FW_EOPTION: a check that cannot be; UV_ENOMEM. */
FW_MUST_CHECK int fwi_health_rules_init(fwi_health_rules *ret_rules,
                                        const fw_health_options *options);
void fwi_health_rules_fini(fwi_health_rules *rules);
/* What is asked of an instance, the defaults filled in; lent from the rules and the instance.
 * FW_EOPTION: its metadata cannot be read; then it is OFF. */
int fwi_health_rules_find(const fwi_health_rules *rules, const fw_instance *instance,
                          fw_health_check *ret_check);
/* True if the same is asked. */
bool fwi_health_check_same(const fw_health_check *a, const fw_health_check *b);

#endif

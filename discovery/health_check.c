#include "health_check.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_PATH_BYTES 1024
#define MAX_NAME_BYTES 256

static const char *const type_names[] = {[FW_HEALTH_OFF] = "off",
                                         [FW_HEALTH_TCP] = "tcp",
                                         [FW_HEALTH_HTTP] = "http",
                                         [FW_HEALTH_GRPC] = "grpc",
                                         [FW_HEALTH_PING] = "ping"};
#define TYPES (sizeof type_names / sizeof *type_names)

const char *fw_health_type_name(fw_health_type type)
{
    return (size_t)type < TYPES ? type_names[type] : "";
}

/* ---- what a check may say ---- */

/* What goes into a request must not be able to end its line. */
static bool is_printable(const char *text, size_t max_bytes)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f)
            return false;
    return len && len <= max_bytes;
}

static bool is_valid(const fw_health_check *check)
{
    bool is_http = check->type == FW_HEALTH_HTTP;
    bool is_named = check->type == FW_HEALTH_GRPC || check->type == FW_HEALTH_PING;
    if ((size_t)check->type >= TYPES)
        return false;
    /* What would be ignored is a mistake. */
    if (!is_http && (check->path || check->host || check->least_status || check->most_status))
        return false;
    if (!is_named && check->name)
        return false;
    if (check->path && (check->path[0] != '/' || !is_printable(check->path, MAX_PATH_BYTES)))
        return false;
    if (check->host && !is_printable(check->host, MAX_NAME_BYTES))
        return false;
    if (check->name && !is_printable(check->name, MAX_NAME_BYTES))
        return false;
    if (!check->least_status && !check->most_status)
        return true;
    return check->least_status >= 100 && check->most_status <= 599 &&
           check->least_status <= check->most_status;
}

/* Reads "TYPE" or "TYPE:REST" into a check whose text is lent. What it does not say comes from
 * base. */
static int parse(const char *text, const fw_health_check *base, fw_health_check *ret_check)
{
    const char *rest = strchr(text, ':');
    size_t len = rest ? (size_t)(rest++ - text) : strlen(text), type = 0;
    while (type < TYPES && (strlen(type_names[type]) != len || memcmp(type_names[type], text, len)))
        type++;
    if (type == TYPES)
        return FW_EOPTION;
    fw_health_check check = {.type = (fw_health_type)type};
    if (base->type == check.type)
        check = *base;
    if (rest && check.type == FW_HEALTH_HTTP)
        check.path = rest;
    else if (rest && (check.type == FW_HEALTH_GRPC || check.type == FW_HEALTH_PING))
        check.name = rest;
    else if (rest)
        return FW_EOPTION;
    if (!is_valid(&check))
        return FW_EOPTION;
    *ret_check = check;
    return FW_OK;
}

static void fill_in(fw_health_check *check)
{
    static const fw_health_check defaults[TYPES] = {
        [FW_HEALTH_HTTP] = {.path = "/", .least_status = 200, .most_status = 299},
        [FW_HEALTH_GRPC] = {.name = ""},
        [FW_HEALTH_PING] = {.name = "fairway.ping"}};
    const fw_health_check *other = &defaults[check->type];
    if (!check->path)
        check->path = other->path;
    if (!check->name)
        check->name = other->name;
    if (!check->least_status) {
        check->least_status = other->least_status;
        check->most_status = other->most_status;
    }
}

static bool is_same(const char *a, const char *b)
{
    return !a == !b && (!a || !strcmp(a, b));
}

bool fwi_health_check_same(const fw_health_check *a, const fw_health_check *b)
{
    return a->type == b->type && a->least_status == b->least_status &&
           a->most_status == b->most_status && is_same(a->path, b->path) &&
           is_same(a->host, b->host) && is_same(a->name, b->name);
}

/* ---- rules ---- */

static int copy(const char *text, const char **ret_copy)
{
    *ret_copy = text ? strdup(text) : NULL;
    return text && !*ret_copy ? UV_ENOMEM : FW_OK;
}

static int add(fwi_health_rules *rules, const char *service, const fw_health_check *check)
{
    if (!service || !is_valid(check))
        return FW_EOPTION;
    fw_health_rule *rule = &rules->rules[rules->count++];
    rule->check = *check;
    int service_err = copy(service, &rule->service);
    int path_err = copy(check->path, &rule->check.path);
    int host_err = copy(check->host, &rule->check.host);
    int name_err = copy(check->name, &rule->check.name);
    return service_err || path_err || host_err || name_err ? UV_ENOMEM : FW_OK;
}

int fwi_health_rules_init(fwi_health_rules *ret_rules, const fw_health_options *options)
{
    fwi_health_rules rules = {.rules = calloc(options->rule_count + 1, sizeof *rules.rules),
                              .ignore_metadata = options->ignore_metadata};
    int err = rules.rules ? FW_OK : UV_ENOMEM;
    for (size_t i = 0; !err && i < options->rule_count; i++)
        err = add(&rules, options->rules[i].service, &options->rules[i].check);
    if (!err)
        err = add(&rules, "*", &options->check);
    if (err)
        fwi_health_rules_fini(&rules);
    else
        *ret_rules = rules;
    return err;
}

void fwi_health_rules_fini(fwi_health_rules *rules)
{
    for (size_t i = 0; i < rules->count; i++) {
        free((void *)rules->rules[i].service);
        free((void *)rules->rules[i].check.path);
        free((void *)rules->rules[i].check.host);
        free((void *)rules->rules[i].check.name);
    }
    free(rules->rules);
}

static const char *metadata_of(const fw_instance *instance, const char *name)
{
    for (size_t i = 0; i < instance->metadata_count; i++)
        if (!strcmp(instance->metadata[i].name, name))
            return instance->metadata[i].value;
    return NULL;
}

int fwi_health_rules_find(const fwi_health_rules *rules, const fw_instance *instance,
                          fw_health_check *ret_check)
{
    const fw_health_check *base = NULL;
    for (size_t i = 0; !base; i++) { /* the last is for all */
        fw_instance_filter filter = {.services = &rules->rules[i].service, .service_count = 1};
        if (fw_instance_matches(instance, &filter))
            base = &rules->rules[i].check;
    }
    const char *text = rules->ignore_metadata ? NULL : metadata_of(instance, FWI_HEALTH_METADATA);
    *ret_check = *base;
    int err = text ? parse(text, base, ret_check) : FW_OK;
    if (err)
        *ret_check = (fw_health_check){.type = FW_HEALTH_OFF};
    fill_in(ret_check);
    return err;
}

#include "filter.h"

#include <stdlib.h>
#include <string.h>

/* "web" is that service, "web*" are all that begin so. */
static bool service_matches(const char *pattern, const char *service)
{
    size_t len = strlen(pattern);
    if (len && pattern[len - 1] == '*')
        return !strncmp(pattern, service, len - 1);
    return !strcmp(pattern, service);
}

static bool has_field(const fw_instance *instance, const fw_instance_field *wanted)
{
    for (size_t i = 0; i < instance->metadata_count; i++)
        if (!strcmp(instance->metadata[i].name, wanted->name))
            return !wanted->value || !strcmp(instance->metadata[i].value, wanted->value);
    return false;
}

bool fw_instance_matches(const fw_instance *instance, const fw_instance_filter *filter)
{
    if (filter->online_only && instance->state != FW_INSTANCE_ONLINE)
        return false;
    if (filter->zone && strcmp(filter->zone, instance->zone))
        return false;
    if (filter->version && strcmp(filter->version, instance->version))
        return false;
    for (size_t i = 0; i < filter->metadata_count; i++)
        if (!has_field(instance, &filter->metadata[i]))
            return false;
    bool matches = !filter->service_count;
    for (size_t i = 0; !matches && i < filter->service_count; i++)
        matches = service_matches(filter->services[i], instance->service);
    return matches;
}

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static const char *put_text(char **room, const char *text)
{
    if (!text)
        return NULL;
    char *copy = *room;
    memcpy(copy, text, strlen(text) + 1);
    *room += strlen(text) + 1;
    return copy;
}

fw_instance_filter *fwi_filter_copy(const fw_instance_filter *from)
{
    size_t size = sizeof *from + from->service_count * sizeof *from->services +
                  from->metadata_count * sizeof *from->metadata + text_size(from->zone) +
                  text_size(from->version);
    for (size_t i = 0; i < from->service_count; i++)
        size += text_size(from->services[i]);
    for (size_t i = 0; i < from->metadata_count; i++)
        size += text_size(from->metadata[i].name) + text_size(from->metadata[i].value);
    fw_instance_filter *to = malloc(size);
    if (!to)
        return NULL;
    *to = *from;
    const char **services = (const char **)(to + 1);
    fw_instance_field *metadata = (fw_instance_field *)(services + from->service_count);
    char *room = (char *)(metadata + from->metadata_count);
    for (size_t i = 0; i < from->service_count; i++)
        services[i] = put_text(&room, from->services[i]);
    for (size_t i = 0; i < from->metadata_count; i++) {
        metadata[i].name = put_text(&room, from->metadata[i].name);
        metadata[i].value = put_text(&room, from->metadata[i].value);
    }
    to->services = services;
    to->metadata = metadata;
    to->zone = put_text(&room, from->zone);
    to->version = put_text(&room, from->version);
    return to;
}

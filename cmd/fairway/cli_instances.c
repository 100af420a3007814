/* Instances from options, and on the screen. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- from options ---- */

/* Host name without what an id cannot have, and eight random digits. */
static void make_id(char *ret_id, size_t size)
{
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    size_t n = 0;
    for (const char *p = host; *p && *p != '.' && n < 40; p++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", *p))
            ret_id[n++] = *p;
    uint32_t digits = 0;
    uv_random(NULL, NULL, &digits, sizeof digits, 0, NULL);
    snprintf(ret_id + n, size - n, "%s%08x", n ? "-" : "", digits);
}

/* Splits K=V, or K alone where that is enough; ret_text is to be freed. Exit code or -1. */
static int split_metadata(const cli_list *list, bool name_alone, char **ret_text,
                          fw_instance_field *fields)
{
    for (size_t i = 0; i < list->count; i++) {
        size_t len = strcspn(list->items[i], "=");
        bool has_value = list->items[i][len];
        if (!len || (!has_value && !name_alone))
            return cli_fail(EXIT_USAGE, list->items[i], "metadata is given as KEY=VALUE");
        ret_text[i] = strdup(list->items[i]);
        if (!ret_text[i])
            return cli_fail_error("metadata", UV_ENOMEM, NULL);
        ret_text[i][len] = 0;
        fields[i] = (fw_instance_field){ret_text[i], has_value ? ret_text[i] + len + 1 : NULL};
    }
    return -1;
}

int cli_instance_new(const cli_instance_options *options, const char *service, const char *url,
                     const char *protocol, const fw_instance **ret_instance)
{
    char id[80], *net = NULL, *addr = NULL, *texts[CLI_LIST_MAX] = {NULL};
    fw_instance_field fields[CLI_LIST_MAX];
    make_id(id, sizeof id);
    int rc = split_metadata(&options->metadata, false, texts, fields);
    int err = rc < 0 ? fw_instance_parse_url(url, &net, &addr) : FW_OK;
    if (err)
        rc = cli_fail_error(url, err, NULL);
    if (rc < 0) {
        fw_instance instance = {.service = service,
                                .id = options->id ? options->id : id,
                                .net = net,
                                .addr = addr,
                                .balance = "rr",
                                .zone = options->zone,
                                .protocol = protocol,
                                .version = options->version,
                                .weight = options->weight,
                                .started = (int64_t)time(NULL),
                                .metadata = fields,
                                .metadata_count = options->metadata.count};
        err = fw_instance_create(&instance, ret_instance);
        if (err)
            rc = cli_fail_error(err == FW_ESERVICE ? service : instance.id, err, NULL);
    }
    for (size_t i = 0; i < options->metadata.count; i++)
        free(texts[i]);
    free(net);
    free(addr);
    return rc;
}

int cli_filter_init(const cli_filter_options *options, cli_filter *ret_filter)
{
    *ret_filter = (cli_filter){.filter = {.zone = options->zone,
                                          .version = options->version,
                                          .metadata = ret_filter->fields,
                                          .metadata_count = options->metadata.count}};
    return split_metadata(&options->metadata, true, ret_filter->texts, ret_filter->fields);
}

void cli_filter_fini(cli_filter *filter)
{
    for (size_t i = 0; i < CLI_LIST_MAX; i++)
        free(filter->texts[i]);
}

/* What an instance of these names is refused for. */
static int try_names(const char *service, const char *id)
{
    const fw_instance *instance;
    const fw_instance trial = {.service = service, .id = id, .net = "tcp", .addr = "x:1"};
    int err = fw_instance_create(&trial, &instance);
    if (!err)
        fw_instance_release(instance);
    return err;
}

int cli_check_service(const char *name)
{
    int err = try_names(name, "x");
    return err ? cli_fail_error(name, err, NULL) : -1;
}

int cli_check_consumer(const char *name)
{
    char what[300];
    snprintf(what, sizeof what, "--consumer %s", name ? name : "");
    return name && *name && try_names("x", name) ? cli_fail(EXIT_USAGE, what, "no such name can be")
                                                 : -1;
}

/* ---- on the screen ---- */

cJSON *cli_json_instance(const fw_instance *instance)
{
    char *text = NULL, *url = NULL;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "service", instance->service);
    cJSON_AddStringToObject(json, "id", instance->id);
    if (!fw_instance_url(instance, &url))
        cJSON_AddStringToObject(json, "url", url);
    cJSON_AddStringToObject(json, "state", instance->state ? "offline" : "online");
    cJSON *node = fw_instance_encode(instance, &text) ? NULL : cJSON_Parse(text);
    if (node)
        cJSON_AddItemToObject(json, "node", node);
    free(text);
    free(url);
    return json;
}

void cli_print_instance(const char *mark, const fw_instance *instance, const char *note)
{
    char *url = NULL;
    if (fw_instance_url(instance, &url))
        return;
    printf("%s%-24s %-32s %-8s weight %u", mark, instance->id, url,
           instance->state ? "offline" : "online", instance->weight);
    if (*instance->zone)
        printf("  zone %s", instance->zone);
    if (*instance->version)
        printf("  version %s", instance->version);
    for (size_t i = 0; i < instance->metadata_count; i++)
        printf("  %s=%s", instance->metadata[i].name, instance->metadata[i].value);
    printf("%s%s\n", *note ? "  " : "", note);
    fflush(stdout);
    free(url);
}

const char *cli_duration_text(uint64_t ms, char *ret_text, size_t size)
{
    uint64_t s = ms / 1000;
    if (ms < 10000)
        snprintf(ret_text, size, "%.3gs", (double)ms / 1000);
    else if (s < 60)
        snprintf(ret_text, size, "%us", (unsigned)s);
    else if (s < 3600)
        snprintf(ret_text, size, "%um%us", (unsigned)(s / 60), (unsigned)(s % 60));
    else
        snprintf(ret_text, size, "%lluh%um", (unsigned long long)(s / 3600),
                 (unsigned)(s % 3600 / 60));
    return ret_text;
}

int64_t cli_unix_ms(void)
{
    uv_timeval64_t now;
    return uv_gettimeofday(&now) ? 0 : now.tv_sec * 1000 + now.tv_usec / 1000;
}

/* fairway kv: the store from the shell. lock and txn have files of their own. */
#include "cmd_kv.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_option no_options[] = {CLI_END};

/* ---- one operation and its answer ---- */

struct job {
    cli_context *cli;
    const char *key;
    void (*print)(struct job *job, const fw_kv_result *result);
};

static void on_done(const fw_kv_result *result, void *arg)
{
    struct job *job = arg;
    if (result->status) {
        cli_stop(job->cli, cli_fail_error(job->key, result->status, result->detail));
        return;
    }
    if (job->print)
        job->print(job, result);
    cli_stop(job->cli, job->cli->exit_code);
}

/* Runs the loop for an operation that was submitted with the error err. */
static int finish(struct job *job, int err)
{
    if (err) {
        job->cli->exit_code = cli_fail_error(job->key, err, NULL);
        fw_loop_stop(job->cli->loop);
    }
    return cli_run(job->cli);
}

static int begin(cli_context *cli, const cli_option *options, const char *usage, const char *help,
                 int argc, char **argv, int operands)
{
    int count, rc = cli_parse(cli, options, usage, help, argc, argv, operands, operands, &count);
    if (rc < 0)
        rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    return rc;
}

static void print_revision(struct job *job, const fw_kv_result *result)
{
    if (!job->cli->json) {
        printf("revision %lld\n", (long long)result->revision);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "key", job->key);
    cli_json_add_int64(json, "revision", result->revision);
    cli_print_json(json);
}

static void print_count(struct job *job, const fw_kv_result *result)
{
    if (!job->cli->json) {
        printf("%zu deleted\n", result->count);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "prefix", job->key);
    cJSON_AddNumberToObject(json, "deleted", (double)result->count);
    cli_print_json(json);
}

static void print_deletion(struct job *job, const fw_kv_result *result)
{
    if (!job->cli->json)
        return;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "key", job->key);
    cJSON_AddBoolToObject(json, "deleted", true);
    cli_json_add_int64(json, "revision", result->revision);
    cli_print_json(json);
}

cJSON *kv_json_pair(const fw_kv_pair *pair)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "key", pair->key);
    cli_json_add_bytes(json, "value", pair->value);
    cli_json_add_int64(json, "revision", pair->revision);
    if (pair->lease) {
        char text[24];
        snprintf(text, sizeof text, "%lld", (long long)pair->lease);
        cJSON_AddStringToObject(json, "lease", text); /* may be beyond what a double holds */
    }
    return json;
}

void kv_print_value_line(const fw_kv_pair *pair)
{
    fwrite(pair->value.data, 1, pair->value.len, stdout);
    if (!pair->value.len || ((const char *)pair->value.data)[pair->value.len - 1] != '\n')
        putchar('\n');
}

static void print_pairs(struct job *job, const fw_kv_result *result)
{
    for (size_t i = 0; i < result->count; i++) {
        const fw_kv_pair *pair = &result->pairs[i];
        if (job->cli->json) {
            cli_print_json(kv_json_pair(pair));
        } else {
            printf("%s\t", pair->key);
            kv_print_value_line(pair);
        }
    }
}

static void print_pair(struct job *job, const fw_kv_result *result)
{
    if (job->cli->json)
        cli_print_json(kv_json_pair(result->pairs));
    else if (isatty(1))
        kv_print_value_line(result->pairs);
    else /* a pipe or a file gets the bytes alone */
        fwrite(result->pairs->value.data, 1, result->pairs->value.len, stdout);
}

static void print_exists(struct job *job, const fw_kv_result *result)
{
    if (job->cli->json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddStringToObject(json, "key", job->key);
        cJSON_AddBoolToObject(json, "exists", result->count != 0);
        cli_print_json(json);
    } else {
        puts(result->count ? "yes" : "no");
    }
    job->cli->exit_code = result->count ? EXIT_DONE : EXIT_FAILED;
}

/* ---- values from the command line or standard input ---- */

int kv_read_value(const char *operand, fw_slice *ret_value, char **ret_memory)
{
    *ret_memory = NULL;
    *ret_value = (fw_slice){operand, strlen(operand)};
    if (strcmp(operand, "-"))
        return -1;
    size_t len = 0, capacity = 65536;
    char *bytes = malloc(capacity);
    for (size_t n; bytes && (n = fread(bytes + len, 1, capacity - len, stdin)) > 0;) {
        len += n;
        if (len == capacity) {
            char *more = realloc(bytes, capacity *= 2);
            if (!more)
                free(bytes);
            bytes = more;
        }
    }
    if (!bytes || ferror(stdin)) {
        free(bytes);
        return cli_fail(EXIT_FAILED, "standard input", "cannot be read");
    }
    *ret_value = (fw_slice){bytes, len};
    *ret_memory = bytes;
    return -1;
}

static int parse_revision(const char *text, int64_t *ret_revision)
{
    char *end;
    errno = 0;
    long long revision = strtoll(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end || errno)
        return cli_fail(EXIT_USAGE, text, "not a revision");
    *ret_revision = revision;
    return -1;
}

/* ---- the commands ---- */

int cmd_kv_put(cli_context *cli, int argc, char **argv)
{
    uint32_t ttl_ms = 0;
    const cli_option options[] = {
        {"ttl", NULL, CLI_DURATION, &ttl_ms, "DUR", "delete the key after this time"},
        CLI_END,
    };
    int rc = begin(cli, options, "KEY VALUE [--ttl DUR]",
                   "Sets a value; VALUE - reads it from standard input.", argc, argv, 2);
    if (rc >= 0)
        return rc;
    fw_slice value;
    char *memory;
    struct job job = {cli, argv[0], print_revision};
    rc = kv_read_value(argv[1], &value, &memory);
    if (rc >= 0) {
        cli_stop(cli, rc);
        return cli_run(cli);
    }
    fw_kv_put_options put = {.ttl_ms = ttl_ms};
    int err = fw_kv_put(cli->kv, argv[0], value, &put, on_done, &job);
    free(memory);
    return finish(&job, err);
}

int cmd_kv_get(cli_context *cli, int argc, char **argv)
{
    int rc = begin(cli, no_options, "KEY", "Prints the value of a key.", argc, argv, 1);
    if (rc >= 0)
        return rc;
    struct job job = {cli, argv[0], print_pair};
    return finish(&job, fw_kv_get(cli->kv, argv[0], on_done, &job));
}

int cmd_kv_del(cli_context *cli, int argc, char **argv)
{
    int rc = begin(cli, no_options, "KEY", "Deletes a key.", argc, argv, 1);
    if (rc >= 0)
        return rc;
    struct job job = {cli, argv[0], print_deletion};
    return finish(&job, fw_kv_delete(cli->kv, argv[0], on_done, &job));
}

int cmd_kv_exists(cli_context *cli, int argc, char **argv)
{
    int rc = begin(cli, no_options, "KEY", "Exits with 0 if there is such a key, with 1 if not.",
                   argc, argv, 1);
    if (rc >= 0)
        return rc;
    struct job job = {cli, argv[0], print_exists};
    return finish(&job, fw_kv_exists(cli->kv, argv[0], on_done, &job));
}

int cmd_kv_ls(cli_context *cli, int argc, char **argv)
{
    int rc =
        begin(cli, no_options, "PREFIX",
              "Lists what is below a prefix, at any depth; / lists everything.", argc, argv, 1);
    if (rc >= 0)
        return rc;
    struct job job = {cli, argv[0], print_pairs};
    return finish(&job, fw_kv_list(cli->kv, argv[0], on_done, &job));
}

int cmd_kv_rmtree(cli_context *cli, int argc, char **argv)
{
    int rc = begin(cli, no_options, "PREFIX", "Deletes what is below a prefix, at any depth.", argc,
                   argv, 1);
    if (rc >= 0)
        return rc;
    struct job job = {cli, argv[0], print_count};
    return finish(&job, fw_kv_delete_tree(cli->kv, argv[0], on_done, &job));
}

int cmd_kv_cas(cli_context *cli, int argc, char **argv)
{
    int rc = begin(cli, no_options, "KEY REVISION VALUE",
                   "Sets a value if the key is still at REVISION; 0: if there is no such key.\n"
                   "Exits with 4 if it is not.",
                   argc, argv, 3);
    if (rc >= 0)
        return rc;
    int64_t revision = 0;
    fw_slice value;
    char *memory = NULL;
    rc = parse_revision(argv[1], &revision);
    if (rc < 0)
        rc = kv_read_value(argv[2], &value, &memory);
    if (rc >= 0) {
        cli_stop(cli, rc);
        return cli_run(cli);
    }
    struct job job = {cli, argv[0], print_revision};
    int err = fw_kv_atomic_put(cli->kv, argv[0], value, revision, NULL, on_done, &job);
    free(memory);
    return finish(&job, err);
}

int cmd_kv_cad(cli_context *cli, int argc, char **argv)
{
    int rc = begin(cli, no_options, "KEY REVISION",
                   "Deletes a key if it is still at REVISION. Exits with 4 if it is not.", argc,
                   argv, 2);
    if (rc >= 0)
        return rc;
    int64_t revision = 0;
    rc = parse_revision(argv[1], &revision);
    if (rc >= 0) {
        cli_stop(cli, rc);
        return cli_run(cli);
    }
    struct job job = {cli, argv[0], print_deletion};
    return finish(&job, fw_kv_atomic_delete(cli->kv, argv[0], revision, on_done, &job));
}

/* ---- watch ---- */

static const char *event_name(fw_kv_event_type type)
{
    switch (type) {
    case FW_KV_PUT:
        return "put";
    case FW_KV_DELETE:
        return "delete";
    case FW_KV_END_OF_SNAPSHOT:
        return "synced";
    case FW_KV_RESYNC:
        return "resync";
    case FW_KV_STALE:
        return "stale";
    case FW_KV_LIVE:
        return "live";
    case FW_KV_FATAL:
        return "fatal";
    }
    return "";
}

static void print_event_json(const fw_kv_event *event)
{
    bool has_pair = event->type == FW_KV_PUT || event->type == FW_KV_DELETE;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "event", event_name(event->type));
    if (has_pair)
        cJSON_AddStringToObject(json, "key", event->pair.key);
    if (event->type == FW_KV_PUT)
        cli_json_add_bytes(json, "value", event->pair.value);
    if (event->pair.revision)
        cli_json_add_int64(json, "revision", event->pair.revision);
    if (event->reason) {
        cJSON_AddStringToObject(json, "reason", fw_strerror(event->reason));
        cJSON_AddStringToObject(json, "detail", event->detail);
    }
    cli_print_json(json);
}

static void print_event(const fw_kv_event *event)
{
    switch (event->type) {
    case FW_KV_PUT:
        printf("put\t%s\t", event->pair.key);
        kv_print_value_line(&event->pair);
        break;
    case FW_KV_DELETE:
        printf("delete\t%s\n", event->pair.key);
        break;
    default:
        if (event->reason)
            printf("%s\t%s%s%s\n", event_name(event->type), fw_strerror(event->reason),
                   *event->detail ? ": " : "", event->detail);
        else
            printf("%s\n", event_name(event->type));
        break;
    }
    fflush(stdout);
}

static void on_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    cli_context *cli = arg;
    for (size_t i = 0; i < count; i++) {
        if (cli->json)
            print_event_json(&events[i]);
        else
            print_event(&events[i]);
        if (events[i].type == FW_KV_FATAL)
            cli_stop(cli, cli_exit_code(events[i].reason));
    }
}

int cmd_kv_watch(cli_context *cli, int argc, char **argv)
{
    bool tree = false;
    const cli_option options[] = {
        {"tree", NULL, CLI_FLAG, &tree, NULL, "watch everything below the key"},
        CLI_END,
    };
    int rc =
        begin(cli, options, "KEY [--tree]",
              "Prints the present state, \"synced\", and then every change, until it is stopped.",
              argc, argv, 1);
    if (rc >= 0)
        return rc;
    fw_kv_watch *watch;
    int err = tree ? fw_kv_watch_tree(cli->kv, argv[0], on_events, cli, &watch)
                   : fw_kv_watch_key(cli->kv, argv[0], on_events, cli, &watch);
    struct job job = {cli, argv[0], NULL};
    return finish(&job, err);
}

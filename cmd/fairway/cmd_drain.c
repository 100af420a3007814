/* fairway drain: takes an instance out of use, without a call that fails. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct drain {
    cli_context *cli;
    char *service, *id;
    bool wait, wait_left, resume;
    uint32_t timeout_ms;
    fw_drain *drain;
    bool is_closing;
};

static void print_event(struct drain *job, const char *event, const fw_drain_progress *progress,
                        const char *text)
{
    if (!job->cli->json) {
        printf("%s %s/%s%s%s\n", event, job->service, job->id, *text ? ": " : "", text);
        fflush(stdout);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "event", event);
    cJSON_AddStringToObject(json, "service", job->service);
    cJSON_AddStringToObject(json, "id", job->id);
    if (progress && progress->revision) {
        cli_json_add_int64(json, "revision", progress->revision);
        cJSON_AddNumberToObject(json, "consumers", (double)progress->consumers);
        cJSON_AddNumberToObject(json, "awaited", (double)progress->awaited);
        cJSON_AddBoolToObject(json, "by_us", progress->by_us);
    }
    cli_print_json(json);
}

/* ---- the end ---- */

static void on_closed(void *arg)
{
    struct drain *job = arg;
    cli_stop(job->cli, job->cli->exit_code);
}

static void close_drain(struct drain *job, int exit_code)
{
    if (job->is_closing)
        return;
    job->is_closing = true;
    job->cli->exit_code = exit_code;
    fw_drain_close(job->drain, on_closed, job);
}

struct text {
    char *at;
    size_t size;
};

static void add_awaited(const fw_consumer *consumer, void *arg)
{
    struct text *text = arg;
    int n = snprintf(text->at, text->size, "; %s/%s has not seen it", consumer->service,
                     consumer->name);
    if (n > 0 && (size_t)n < text->size) {
        text->at += n;
        text->size -= (size_t)n;
    }
}

static void on_done(fw_drain *drain, int status, const char *detail, void *arg)
{
    struct drain *job = arg;
    char name[300], why[1500];
    int code = EXIT_DONE;
    if (job->is_closing)
        return;
    if (status) {
        snprintf(name, sizeof name, "%s/%s", job->service, job->id);
        snprintf(why, sizeof why, "%s", detail);
        size_t len = strlen(why);
        struct text text = {why + len, sizeof why - len};
        fw_drain_each_awaited(drain, add_awaited, &text);
        code = cli_fail_error(name, status, why);
    }
    close_drain(job, code);
}

/* ---- the way ---- */

static void on_phase(fw_drain *drain, const fw_drain_progress *progress, void *arg)
{
    (void)drain;
    struct drain *job = arg;
    char text[200] = "";
    size_t len;
    if (job->is_closing)
        return;
    switch (progress->phase) {
    case FW_DRAIN_ASKED:
        print_event(job, "asked", progress, text);
        break;
    case FW_DRAIN_MARKED:
        snprintf(text, sizeof text, "revision %lld%s", (long long)progress->revision,
                 progress->by_us ? ", marked from here since nobody keeps its node" : "");
        len = strlen(text);
        if (progress->consumers)
            snprintf(text + len, sizeof text - len, ", seen by %zu of %zu consumers",
                     progress->consumers - progress->awaited, progress->consumers);
        print_event(job, "offline", progress, text);
        if (!job->wait && !job->wait_left)
            close_drain(job, EXIT_DONE);
        break;
    case FW_DRAIN_SEEN:
        if (progress->consumers)
            snprintf(text, sizeof text, "by %zu consumers: none will pick it again",
                     progress->consumers);
        else
            snprintf(text, sizeof text, "no consumer is announced");
        print_event(job, "seen", progress, text);
        break;
    case FW_DRAIN_LEFT:
        print_event(job, "left", progress, text);
        break;
    }
}

static void on_resumed(int status, const char *detail, void *arg)
{
    struct drain *job = arg;
    char name[300];
    snprintf(name, sizeof name, "%s/%s", job->service, job->id);
    if (!status)
        print_event(job, "resumed", NULL, "");
    cli_stop(job->cli, status == FW_ENOTFOUND
                           ? cli_fail(EXIT_FAILED, name, "there is no request to drain it")
                       : status ? cli_fail_error(name, status, detail)
                                : EXIT_DONE);
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    struct drain *job = arg;
    if (job->drain)
        close_drain(job, 128 + signal);
    else
        cli_stop(cli, 128 + signal);
}

/* ---- the start ---- */

static int start(struct drain *job)
{
    char by[300] = "", host[256] = "";
    gethostname(host, sizeof host - 1);
    snprintf(by, sizeof by, "fairway drain on %s", host);
    fw_drain_options options = {.by = by,
                                .wait_left = job->wait_left,
                                .deadline_ms = job->timeout_ms,
                                .on_phase = on_phase,
                                .on_done = on_done,
                                .arg = job};
    fw_kv *kv = job->cli->kv;
    int err = job->resume ? fw_drain_resume(kv, job->service, job->id, on_resumed, job)
                          : fw_drain_new(kv, job->service, job->id, &options, &job->drain);
    char name[300];
    snprintf(name, sizeof name, "%s/%s", job->service, job->id);
    return err ? cli_fail_error(name, err, NULL) : -1;
}

static int parse(struct drain *job, int argc, char **argv)
{
    const cli_option options[] = {
        {"wait", NULL, CLI_FLAG, &job->wait, NULL,
         "until no announced consumer will pick it again"},
        {"wait-left", NULL, CLI_FLAG, &job->wait_left, NULL, "until it has left the store, too"},
        {"timeout", NULL, CLI_DURATION, &job->timeout_ms, "DUR", "for all of it (default 30s)"},
        {"resume", NULL, CLI_FLAG, &job->resume, NULL, "take the request back"},
        CLI_END,
    };
    int count,
        rc = cli_parse(
            job->cli, options, "NAME/ID [--wait | --wait-left | --resume]",
            "Asks that an instance be drained: it is marked offline, every consumer sees that and "
            "sends it no\n"
            "new work, its work ends, it leaves. Returns when it is offline; with --wait when "
            "every announced\n"
            "consumer has seen it. The request stands until the instance leaves or --resume takes "
            "it back.\n"
            "Exits with 1 if there is no such instance, with 3 if it was not in time.",
            argc, argv, 1, 1, &count);
    if (rc >= 0)
        return rc;
    char *slash = strchr(argv[0], '/');
    if (!slash || slash == argv[0] || !slash[1])
        return cli_fail(EXIT_USAGE, argv[0], "an instance is named as NAME/ID");
    if (job->resume && (job->wait || job->wait_left))
        return cli_fail(EXIT_USAGE, "--resume", "not together with --wait or --wait-left");
    if (!job->timeout_ms)
        return cli_fail(EXIT_USAGE, "--timeout 0", "value cannot be used");
    *slash = 0;
    job->service = argv[0];
    job->id = slash + 1;
    return -1;
}

int cmd_drain(cli_context *cli, int argc, char **argv)
{
    struct drain job = {.cli = cli, .timeout_ms = 30000};
    int rc = parse(&job, argc, argv);
    if (rc < 0)
        rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    if (rc >= 0)
        return rc;
    cli->on_signal = on_signal;
    cli->signal_arg = &job;
    rc = start(&job);
    if (rc >= 0)
        cli_stop(cli, rc);
    return cli_run(cli);
}

/*
 * fairway register: keeps an instance registered until it is stopped, or while a command runs.
 *
 *     WAITING -> LISTED -> DRAINING -> ENDING -> LEAVING -> (exit)
 *
 *     WAITING   the command runs, its address does not answer yet
 *     LISTED    the registrar keeps the instance in the store
 *     DRAINING  a signal came: it is marked offline, and consumers have some time to see that
 *     ENDING    the signal was passed on to the command, which ends its work
 *     LEAVING   it is taken out of the store
 *
 * A command that ends leads to LEAVING from everywhere. A second signal does not wait for anything.
 */
#include "child.h"
#include "cli_drain.h"
#include "reach.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REACH_EVERY_MS   100
#define REACH_TIMEOUT_MS 1000
#define REMIND_AFTER_MS  1000
#define REMIND_EVERY_MS  10000

enum state { WAITING, LISTED, DRAINING, ENDING, LEAVING };

struct registration {
    cli_context *cli;
    const fw_instance *instance;
    uint32_t ttl_ms;
    enum state state;
    fw_registrar *registrar;
    bool wanted, was_registered;
    cli_child child;
    char *reach_url;       /* where the command is waited for; NULL: it is not */
    cli_reach *reach;      /* under way */
    uint64_t remind_at_ms; /* when it is said that we wait */
    uv_timer_t timer;      /* WAITING: until the next try */
    cli_drain drain;       /* DRAINING */
    int signal;
};

/* text (NULL: none) is what people read of it. */
static void print_event(struct registration *job, const char *event, const char *text)
{
    const fw_instance *instance = job->instance;
    if (job->cli->json) {
        cJSON *json = cli_json_instance(instance);
        cJSON_AddStringToObject(json, "event", event);
        cli_print_json(json);
        return;
    }
    printf("%s %s/%s%s%s\n", event, instance->service, instance->id, text ? ": " : "",
           text ? text : "");
    fflush(stdout);
}

/* One that has a reason. */
static void print_trouble(struct registration *job, const char *event, int reason,
                          const char *detail, uint32_t next_try_ms)
{
    char text[700];
    if (job->cli->json) {
        cJSON *json = cli_json_instance(job->instance);
        cJSON_AddStringToObject(json, "event", event);
        cJSON_AddStringToObject(json, "reason", fw_strerror(reason));
        cJSON_AddStringToObject(json, "detail", detail);
        cJSON_AddNumberToObject(json, "next_try_ms", next_try_ms);
        cli_print_json(json);
        return;
    }
    snprintf(text, sizeof text, "%s%s%s, next try in %u ms", fw_strerror(reason),
             *detail ? ": " : "", detail, next_try_ms);
    print_event(job, event, text);
}

static void on_status(fw_registrar *registrar, const fw_registrar_status *status, void *arg)
{
    (void)registrar;
    struct registration *job = arg;
    if (job->state != LISTED)
        return;
    if (status->state == FW_REGISTRAR_LOST) {
        print_trouble(job, job->was_registered ? "lost" : "not registered", status->reason,
                      status->detail, status->next_try_ms);
    } else if (status->state == FW_REGISTRAR_REGISTERED) {
        job->was_registered = true;
        print_event(job, "registered", NULL);
    }
}

/* Somebody else has asked for it, or has taken it back: the command runs on. */
static void on_drain(fw_registrar *registrar, const fw_instance *instance, bool is_draining,
                     void *arg)
{
    (void)registrar;
    (void)instance;
    struct registration *job = arg;
    if (job->state == LISTED)
        print_event(job, is_draining ? "draining" : "resumed",
                    is_draining ? "somebody has asked for it" : NULL);
}

/* ---- the end ---- */

static void finish(struct registration *job)
{
    uv_close((uv_handle_t *)&job->timer, NULL);
    cli_drain_fini(&job->drain);
    cli_stop(job->cli, job->cli->exit_code);
}

static void on_left(void *arg)
{
    struct registration *job = arg;
    job->registrar = NULL;
    if (job->wanted)
        print_event(job, "left", NULL);
    if (!job->child.running)
        finish(job);
}

/* Waits for nothing any more. */
static void enter(struct registration *job, enum state state)
{
    job->state = state;
    uv_timer_stop(&job->timer);
    cli_drain_stop(&job->drain);
    if (job->reach)
        cli_reach_cancel(job->reach);
    job->reach = NULL;
}

static void leave(struct registration *job)
{
    if (job->state == LEAVING)
        return;
    enter(job, LEAVING);
    fw_registrar_close(job->registrar, on_left, job);
}

static void on_child_exit(int code, void *arg)
{
    struct registration *job = arg;
    job->cli->exit_code = code;
    if (job->state != LEAVING)
        leave(job);
    else if (!job->registrar)
        finish(job);
}

/* Nobody is sent here any more, as far as that can be had. */
static void end_command(struct registration *job)
{
    if (!job->child.running) {
        leave(job);
        return;
    }
    enter(job, ENDING);
    cli_child_signal(&job->child, job->signal);
}

static void on_drained(size_t consumers, void *arg)
{
    struct registration *job = arg;
    char text[64];
    snprintf(text, sizeof text, "by all %zu consumers", consumers);
    if (consumers)
        print_event(job, "seen", text);
    end_command(job);
}

static void drain(struct registration *job)
{
    /* Nobody has seen what never was in the store. */
    bool has_time = job->was_registered && job->drain.within_ms;
    if (!has_time || cli_drain_start(&job->drain)) {
        end_command(job);
        return;
    }
    job->state = DRAINING;
    print_event(job, "draining", NULL);
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    struct registration *job = arg;
    job->signal = signal;
    if (job->state == LEAVING && !job->child.running)
        _exit(128 + signal);
    cli->stopped = false; /* the next one comes here, too */
    if (job->state == WAITING) {
        end_command(job);
    } else if (job->state == LISTED) {
        drain(job);
    } else {
        cli_child_signal(&job->child, SIGKILL);
        leave(job);
    }
}

/* ---- the start ---- */

static void list(struct registration *job)
{
    enter(job, LISTED);
    job->wanted = true;
    int err = fw_registrar_set(job->registrar, job->instance);
    if (!err)
        return;
    job->cli->exit_code = cli_fail_error("register", err, NULL);
    job->signal = SIGTERM;
    end_command(job);
}

static void try_to_reach(uv_timer_t *timer);

static void on_reached(int result, void *arg)
{
    struct registration *job = arg;
    job->reach = NULL;
    if (!result) {
        list(job);
        return;
    }
    if (fw_loop_now_ms(job->cli->loop) >= job->remind_at_ms) {
        char detail[300];
        snprintf(detail, sizeof detail, "%s does not answer yet (--no-wait registers at once)",
                 job->reach_url);
        print_trouble(job, "waiting", result, detail, REACH_EVERY_MS);
        job->remind_at_ms = fw_loop_now_ms(job->cli->loop) + REMIND_EVERY_MS;
    }
    uv_timer_start(&job->timer, try_to_reach, REACH_EVERY_MS, 0);
}

static void try_to_reach(uv_timer_t *timer)
{
    struct registration *job = timer->data;
    if (cli_reach_start(job->cli->loop, job->reach_url, REACH_TIMEOUT_MS, on_reached, job,
                        &job->reach))
        list(job); /* nothing that can be asked */
}

static int start(struct registration *job, char **command)
{
    cli_context *cli = job->cli;
    fw_registrar_options options = {
        .ttl_ms = job->ttl_ms, .on_status = on_status, .on_drain = on_drain, .arg = job};
    int err = fw_registrar_new(cli->kv, &options, &job->registrar);
    if (err)
        return cli_fail_error("register", err, NULL);
    uv_timer_init(fw_loop_uv(cli->loop), &job->timer);
    job->timer.data = job;
    job->drain.kv = cli->kv;
    job->drain.registrar = job->registrar;
    job->drain.instance = job->instance;
    job->drain.on_done = on_drained;
    job->drain.arg = job;
    cli_drain_init(&job->drain, cli->loop);
    job->child.apart = true; /* what ends it comes after the drain */
    job->child.on_exit = on_child_exit;
    job->child.arg = job;
    cli->on_signal = on_signal;
    cli->signal_arg = job;
    int code = *command ? cli_child_start(&job->child, cli, command) : -1;
    if (code >= 0) {
        cli->exit_code = code;
        leave(job);
    } else if (*command && job->reach_url) {
        job->remind_at_ms = fw_loop_now_ms(cli->loop) + REMIND_AFTER_MS;
        try_to_reach(&job->timer);
    } else {
        list(job);
    }
    return -1;
}

/* Where the instance is called, and where its command is waited for. Exit code or -1. */
static int make_urls(const char *addr, const char *advertise, char **ret_url, char **ret_reach_url)
{
    int err = fw_instance_advertise_url(addr, advertise, ret_url);
    if (!err) /* the command listens here, whatever its machine is called elsewhere */
        err = fw_instance_advertise_url(addr, strstr(addr, "[::]") ? "::1" : "127.0.0.1",
                                        ret_reach_url);
    return err ? cli_fail_error(addr, err, NULL) : -1;
}

struct register_options {
    const char *addr, *advertise, *protocol;
    bool no_wait;
    cli_instance_options instance;
};

static int parse(cli_context *cli, struct register_options *o, struct registration *job, int argc,
                 char **argv)
{
    const cli_option options[] = {
        {"addr", NULL, CLI_TEXT, &o->addr, "URL",
         "where it listens: tcp://host:port or unix:/path"},
        {"advertise", NULL, CLI_TEXT, &o->advertise, "HOST",
         "stands for 0.0.0.0 or [::] in --addr (default: this machine's address)"},
        {"protocol", NULL, CLI_TEXT, &o->protocol, "NAME", "what it speaks (default: walle)"},
        CLI_INSTANCE_OPTIONS(&o->instance),
        {"no-wait", NULL, CLI_FLAG, &o->no_wait, NULL,
         "with CMD: register before its address answers"},
        {"drain-timeout", NULL, CLI_DURATION, &job->drain.within_ms, "DUR",
         "how long it is marked offline before it is ended (default 2s)"},
        CLI_END,
    };
    int count;
    int rc = cli_parse(
        cli, options, "NAME --addr URL [-- CMD...]",
        "Registers an instance and keeps it registered until it is stopped.\n"
        "With CMD: runs it, registers when its address answers, leaves when it ends, and exits "
        "with its code.\n"
        "On SIGTERM or SIGINT the instance is marked offline, so that no new work comes; then CMD "
        "gets the\n"
        "signal: after --drain-timeout, or as soon as all announced consumers have seen the mark. "
        "When CMD has\n"
        "ended the instance leaves. A second signal kills CMD. Other signals are passed on.",
        argc, argv, 1, 1, &count);
    if (rc < 0 && !o->addr)
        rc = cli_fail(EXIT_USAGE, "--addr", "needed: where the instance is called");
    if (rc < 0 && o->instance.ttl_ms < 1000)
        rc = cli_fail(EXIT_USAGE, "--ttl", "at least 1s");
    return rc;
}

int cmd_register(cli_context *cli, int argc, char **argv)
{
    struct registration job = {.cli = cli, .drain = {.within_ms = CLI_DRAIN_MS}};
    struct register_options options = {.protocol = "", .instance = {.weight = 1, .ttl_ms = 10000}};
    char *url = NULL;
    int own = 0; /* words before "--" */
    while (own < argc && strcmp(argv[own], "--"))
        own++;
    char **command = argv + (own < argc ? own + 1 : argc);
    int rc = parse(cli, &options, &job, own, argv);
    if (rc < 0 && own < argc && !*command)
        rc = cli_fail(EXIT_USAGE, "--", "a command is missing behind it");
    if (rc < 0)
        rc = make_urls(options.addr, options.advertise, &url, &job.reach_url);
    if (rc < 0)
        rc = cli_instance_new(&options.instance, argv[0], url, options.protocol, &job.instance);
    if (options.no_wait) {
        free(job.reach_url);
        job.reach_url = NULL;
    }
    job.ttl_ms = options.instance.ttl_ms;
    if (rc < 0)
        rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    if (rc < 0) {
        rc = start(&job, command);
        if (rc >= 0)
            cli_stop(cli, rc);
        rc = cli_run(cli);
    }
    free(url);
    free(job.reach_url);
    fw_instance_release(job.instance);
    return rc;
}

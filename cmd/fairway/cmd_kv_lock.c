/*
 * fairway kv lock: holds a lock, while a command runs or until a signal comes.
 *
 *     WAITING -> HOLDING -> RELEASING -> (exit)
 *        |          |           ^
 *        |          +-> LOST ---+   the command is ended: SIGTERM, after a grace SIGKILL
 *        +----------------------+   not acquired, or a signal came
 *
 * With a command, signals are its own business: they are passed on, and the lock is released when
 * it has ended.
 */
#include "child.h"
#include "cmd_kv.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum state { WAITING, HOLDING, LOST, RELEASING };

struct holding {
    cli_context *cli;
    const char *key;
    char **command; /* ends with NULL */
    uint32_t grace_ms;
    bool has_limit;
    enum state state;
    fw_kv_lock *lock;
    cli_child child;
    uv_timer_t grace;
    bool has_grace;
};

static void print_event(struct holding *holding, const char *event, int reason, const char *detail)
{
    if (holding->cli->json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddStringToObject(json, "event", event);
        cJSON_AddStringToObject(json, "key", holding->key);
        if (!strcmp(event, "locked"))
            cli_json_add_int64(json, "token", fw_kv_lock_token(holding->lock));
        if (reason) {
            cJSON_AddStringToObject(json, "reason", fw_strerror(reason));
            cJSON_AddStringToObject(json, "detail", detail);
        }
        cli_print_json(json);
    } else if (!*holding->command && !reason) { /* else standard output is the command's */
        printf("%s %s", event, holding->key);
        if (!strcmp(event, "locked"))
            printf(" token %lld", (long long)fw_kv_lock_token(holding->lock));
        putchar('\n');
        fflush(stdout);
    }
}

/* ---- the end ---- */

static void on_released(void *arg)
{
    struct holding *holding = arg;
    cli_stop(holding->cli, holding->cli->exit_code);
}

static void release(struct holding *holding)
{
    if (holding->state == RELEASING)
        return;
    if (holding->state == HOLDING)
        print_event(holding, "released", FW_OK, "");
    holding->state = RELEASING;
    if (holding->has_grace)
        uv_close((uv_handle_t *)&holding->grace, NULL);
    fw_kv_lock_close(holding->lock, on_released, holding);
}

static void on_child_exit(int code, void *arg)
{
    struct holding *holding = arg;
    if (holding->state != LOST)
        holding->cli->exit_code = code;
    release(holding);
}

static void on_grace(uv_timer_t *timer)
{
    struct holding *holding = timer->data;
    cli_child_signal(&holding->child, SIGKILL);
}

static void on_lost(fw_kv_lock *lock, int reason, const char *detail, void *arg)
{
    (void)lock;
    struct holding *holding = arg;
    if (holding->state != HOLDING)
        return;
    char why[600];
    snprintf(why, sizeof why, "lock lost: %s%s%s", fw_strerror(reason), *detail ? ": " : "",
             detail);
    print_event(holding, "lost", reason, detail);
    holding->cli->exit_code = cli_fail(EXIT_LOST, holding->key, why);
    holding->state = LOST;
    if (!holding->child.running) {
        release(holding);
        return;
    }
    cli_child_signal(&holding->child, SIGTERM);
    uv_timer_start(&holding->grace, on_grace, holding->grace_ms, 0);
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    struct holding *holding = arg;
    if (holding->child.running) {
        cli_child_signal(&holding->child, signal);
        cli->stopped = false; /* the next one is passed on, too */
        return;
    }
    if (holding->state == WAITING)
        cli->exit_code = 128 + signal; /* whoever asked did not get it */
    release(holding);
}

/* ---- the command ---- */

static int start_command(struct holding *holding)
{
    char token[24];
    snprintf(token, sizeof token, "%lld", (long long)fw_kv_lock_token(holding->lock));
    setenv("FAIRWAY_LOCK_KEY", holding->key, 1);
    setenv("FAIRWAY_LOCK_TOKEN", token, 1);
    uv_timer_init(fw_loop_uv(holding->cli->loop), &holding->grace);
    holding->grace.data = holding;
    holding->has_grace = true;
    holding->child.on_exit = on_child_exit;
    holding->child.arg = holding;
    return cli_child_start(&holding->child, holding->cli, holding->command);
}

static void on_acquired(fw_kv_lock *lock, int status, const char *detail, void *arg)
{
    (void)lock;
    struct holding *holding = arg;
    if (holding->state != WAITING) /* given up */
        return;
    if (status) {
        int code = cli_fail_error(holding->key, status, detail);
        /* Not in time is a conflict, if it was the user who set the time. */
        holding->cli->exit_code =
            status == FW_EDEADLINE && holding->has_limit ? EXIT_CONFLICT : code;
        release(holding);
        return;
    }
    holding->state = HOLDING;
    print_event(holding, "locked", FW_OK, "");
    int code = *holding->command ? start_command(holding) : -1;
    if (code >= 0) {
        holding->cli->exit_code = code;
        release(holding);
    }
}

/* ---- the start ---- */

/* Who has the lock, for others to read, unless --value says it. */
static const char *own_name(void)
{
    static char name[300];
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    snprintf(name, sizeof name, "%s/%ld", host, (long)getpid());
    return name;
}

static int start(struct holding *holding, fw_kv_lock_options *options, const char *value)
{
    char *memory = NULL;
    int rc = kv_read_value(value ? value : own_name(), &options->value, &memory);
    if (rc >= 0)
        return rc;
    options->on_acquired = on_acquired;
    options->on_lost = on_lost;
    options->arg = holding;
    int err = fw_kv_lock_new(holding->cli->kv, holding->key, options, &holding->lock);
    free(memory);
    return err ? cli_fail_error(holding->key, err, NULL) : -1;
}

static int check(const fw_kv_lock_options *lock, uint32_t wait_ms)
{
    if (lock->ttl_ms < 1000)
        return cli_fail(EXIT_USAGE, "--ttl", "at least 1s");
    if (!wait_ms)
        return cli_fail(EXIT_USAGE, "--wait 0", "value cannot be used (not to wait is --no-wait)");
    if (wait_ms != UINT32_MAX && lock->no_wait)
        return cli_fail(EXIT_USAGE, "--wait", "not together with --no-wait");
    return -1;
}

int cmd_kv_lock(cli_context *cli, int argc, char **argv)
{
    struct holding holding = {.cli = cli, .grace_ms = 5000};
    fw_kv_lock_options lock = {.ttl_ms = 15000};
    uint32_t wait_ms = UINT32_MAX;
    const char *value = NULL;
    const cli_option options[] = {
        {"ttl", NULL, CLI_DURATION, &lock.ttl_ms, "DUR",
         "how long the lock outlives a holder that died (default 15s)"},
        {"wait", NULL, CLI_DURATION, &wait_ms, "DUR",
         "how long to wait for it (default: for ever)"},
        {"no-wait", NULL, CLI_FLAG, &lock.no_wait, NULL, "do not wait at all"},
        {"value", NULL, CLI_TEXT, &value, "V",
         "what others read at the key; - is standard input (default: host and pid)"},
        {"grace", NULL, CLI_DURATION, &holding.grace_ms, "DUR",
         "from SIGTERM to SIGKILL, when the lock is lost (default 5s)"},
        CLI_END,
    };
    int own = 0; /* words before "--" */
    while (own < argc && strcmp(argv[own], "--"))
        own++;
    holding.command = argv + (own < argc ? own + 1 : argc);
    int count,
        rc = cli_parse(
            cli, options, "KEY [--ttl DUR] [--wait DUR | --no-wait] [--value V] [-- CMD...]",
            "Runs CMD while holding a lock: one holder at a time, in the order of asking.\n"
            "CMD finds FAIRWAY_LOCK_KEY and FAIRWAY_LOCK_TOKEN in its environment; the token grows "
            "from holder\n"
            "to holder, so what the lock protects can refuse one who came too late. Signals are "
            "passed on to\n"
            "CMD. Without CMD the lock is held until a signal comes.\n"
            "Exits with CMD's code; with 4 if the lock was not acquired in time or somebody else "
            "has it;\n"
            "with 5 if it was lost, after CMD was ended.",
            own, argv, 1, 1, &count);
    if (rc < 0 && own < argc && !*holding.command)
        rc = cli_fail(EXIT_USAGE, "--", "a command is missing behind it");
    if (rc < 0)
        rc = check(&lock, wait_ms);
    holding.has_limit = wait_ms != UINT32_MAX;
    lock.wait_ms = holding.has_limit ? wait_ms : 0;
    if (rc < 0)
        rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    if (rc >= 0)
        return rc;
    holding.key = argv[0];
    cli->on_signal = on_signal;
    cli->signal_arg = &holding;
    rc = start(&holding, &lock, value);
    if (rc >= 0)
        cli_stop(cli, rc);
    return cli_run(cli);
}

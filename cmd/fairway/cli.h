/*
 * What the commands share: options, the loop and the store, signals, printing, exit codes.
 */
#ifndef CLI_H
#define CLI_H

#include <cjson/cJSON.h>
#include <fairway/app.h>
#include <fairway/discovery.h>
#include <fairway/error.h>
#include <fairway/kvstore.h>
#include <fairway/log.h>
#include <stdio.h>
#include <uv.h>

/* Exit codes of the program. */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_UNREACHABLE = 3,
    EXIT_CONFLICT = 4,
    EXIT_LOST = 5 /* kv lock: it was held, and lost */
};

/* ---- options ---- */

typedef enum cli_option_type {
    CLI_FLAG,     /* bool */
    CLI_TEXT,     /* const char * */
    CLI_UINT,     /* uint32_t */
    CLI_DURATION, /* uint32_t, milliseconds; "1m30s" */
    CLI_LIST      /* cli_list: may be given more than once */
} cli_option_type;

#define CLI_LIST_MAX 64
typedef struct cli_list {
    const char *items[CLI_LIST_MAX];
    size_t count;
    bool is_default; /* from the environment: replaced by what is given */
} cli_list;

typedef struct cli_option {
    const char *name; /* as --name; the environment's FAIRWAY_NAME gives its default */
    const char *also; /* another spelling, or NULL */
    cli_option_type type;
    void *target;
    const char *metavar;
    const char *help;
} cli_option;

/* Ends an array of options. */
#define CLI_END                                                                                    \
    {                                                                                              \
        NULL, NULL, CLI_FLAG, NULL, NULL, NULL                                                     \
    }

typedef struct cli_context {
    const char *store;
    bool json;
    uint32_t timeout_ms;
    const char *log_level, *log_format;

    const char *command; /* "kv put", for messages */
    fw_loop *loop;
    fw_kv *kv;
    uv_signal_t signals[2];
    unsigned open_signals;
    bool stopped; /* cli_stop was called, or a signal came */
    int exit_code;
    /* Called on SIGINT and SIGTERM; NULL: cli_stop(cli, 0). A second signal ends the program at
     * once. */
    void (*on_signal)(struct cli_context *cli, int signal, void *arg);
    void *signal_arg;
} cli_context;

typedef struct cli_command {
    const char *name;     /* "call" or "kv put" */
    const char *operands; /* "NAME METHOD [DATA]" */
    const char *summary;  /* one line */
    int (*run)(cli_context *cli, int argc,
               char **argv); /* argv[0] is the first word after the name */
} cli_command;

/* Parses the options (which end with CLI_END) and gives back the operands, which are moved to the
 * front of argv. An exit code: -1 to go on, else what to exit with (--help and mistakes were
 * printed). least and most: how many operands there may be (most -1: any). Stops at "--", whose
 * followers count as operands. */
int cli_parse(cli_context *cli, const cli_option *options, const char *usage, const char *help,
              int argc, char **argv, int least, int most, int *ret_count);
/* Words that an option of every command takes with its value, where it stands before the command; 0
 * if word is none of them. */
int cli_global_option_words(const char *word);
/* "1h2m3s", "500ms", "1.5s", "0" to milliseconds. FW_EOPTION. */
int cli_duration_parse(const char *text, uint32_t *ret_ms);

/* ---- printing ---- */

/* "fairway: what: why" on stderr; returns code. */
int cli_fail(int code, const char *what, const char *why);
/* The exit code that an error means. */
int cli_exit_code(int error);
/* Prints an error with its text and detail, and returns its exit code. */
int cli_fail_error(const char *what, int error, const char *detail);
/* Prints the object as one line and deletes it. */
void cli_print_json(cJSON *json);
/* Adds a value as text under name, or as name_base64 if it is not UTF-8. */
void cli_json_add_bytes(cJSON *json, const char *name, fw_slice bytes);
/* Adds a number, as text if JSON's readers, who take doubles, would not get it exactly. */
void cli_json_add_int64(cJSON *json, const char *name, int64_t number);
/* "1.5s", "3m12s", "2h5m" for people; returns ret_text. */
const char *cli_duration_text(uint64_t ms, char *ret_text, size_t size);
/* This machine's clock, Unix milliseconds. */
int64_t cli_unix_ms(void);

/* ---- the loop and the store ---- */

/* Makes the loop and watches for signals; cli_open_store opens the store of --store on it. Exit
 * code or -1. */
int cli_open(cli_context *cli);
int cli_open_store(cli_context *cli);
/* The URL of --store, or of the store that is used without it. */
const char *cli_store_url(const cli_context *cli);
/* Runs until cli_stop, or a signal; then closes the store, the signals and the loop, and gives the
 * exit code. Whatever else is on the loop must be closed by then or by itself. */
int cli_run(cli_context *cli);
void cli_stop(cli_context *cli, int exit_code);

/* ---- components ---- */

typedef struct cli_app {
    const fw_app_component *list; /* errors of a start are printed with the component's name */
    size_t count;
    uint32_t drain_ms;             /* what a drain may take */
    void (*on_running)(void *arg); /* all have started */
    void *arg;

    cli_context *cli; /* set by cli_run_app */
} cli_app;

/* Runs them after cli_open until a signal, or until one fails. Exit code. */
int cli_run_app(cli_context *cli, cli_app *components);
/* Ends a start whose mistake has been printed. */
void cli_component_fail(cli_context *cli, fw_app_step *step, int exit_code);

/* ---- TLS from options ---- */

typedef struct cli_tls_options {
    const char *cert, *key, *ca;
} cli_tls_options;

#define CLI_TLS_OPTIONS(o)                                                                         \
    {"tls-cert", NULL,   CLI_TEXT,                                                                 \
     &(o)->cert, "FILE", "certificate for tls: and wss: URLs that name none (?cert=)"},            \
        {"tls-key", NULL, CLI_TEXT, &(o)->key, "FILE", "its key (?key=)"},                         \
    {                                                                                              \
        "tls-ca", NULL, CLI_TEXT, &(o)->ca, "FILE",                                                \
            "who must have signed the other end's certificate (?ca=)"                              \
    }

bool cli_tls_is_given(const cli_tls_options *options);
/* True for URLs that the options are for. */
bool cli_tls_applies(const char *url);
/* The URL with the options as parameters, to be freed; unchanged if they are not for it. FW_EURL,
 * UV_ENOMEM. */
int cli_tls_url(const cli_tls_options *options, const char *url, char **ret_url);

/* ---- instances from options ---- */

typedef struct cli_instance_options {
    const char *id, *zone, *version;
    uint32_t weight, ttl_ms;
    cli_list metadata;
} cli_instance_options;

#define CLI_INSTANCE_OPTIONS(o)                                                                    \
    {"id", NULL, CLI_TEXT, &(o)->id, "ID", "instance id (default: host name and random digits)"},  \
        {"weight", NULL, CLI_UINT, &(o)->weight, "N", "share of the calls (default 1)"},           \
        {"zone", NULL, CLI_TEXT, &(o)->zone, "ZONE", "where it runs"},                             \
        {"version", "service-version", CLI_TEXT, &(o)->version, "V", "version of the service"},    \
        {"meta", NULL, CLI_LIST, &(o)->metadata, "K=V", "metadata; may be repeated"},              \
    {                                                                                              \
        "ttl", NULL, CLI_DURATION, &(o)->ttl_ms, "DUR",                                            \
            "lease: how long it stays listed after a crash (default 10s)"                          \
    }

/* Makes an instance of a service at a URL; errors are printed. Exit code or -1. */
int cli_instance_new(const cli_instance_options *options, const char *service, const char *url,
                     const char *protocol, const fw_instance **ret_instance);

/* Which instances are shown. */
typedef struct cli_filter_options {
    const char *zone, *version;
    cli_list metadata;
} cli_filter_options;

#define CLI_FILTER_OPTIONS(o)                                                                       \
    {"zone", NULL, CLI_TEXT, &(o)->zone, "ZONE", "only those that run there"},                      \
        {"version", "service-version", CLI_TEXT, &(o)->version, "V", "only those of this version"}, \
    {                                                                                               \
        "meta", NULL, CLI_LIST, &(o)->metadata, "K[=V]",                                            \
            "only those with this metadata; may be repeated"                                        \
    }

#define CLI_SAVED_LIST_OPTION(path)                                                                \
    {                                                                                              \
        "saved-list", NULL, CLI_TEXT, path, "FILE",                                                \
            "keeps the list of all services there, to start from if the store is away"             \
    }

typedef struct cli_filter {
    fw_instance_filter filter; /* its fields are the ones below */
    fw_instance_field fields[CLI_LIST_MAX];
    char *texts[CLI_LIST_MAX];
} cli_filter;

/* Errors are printed; exit code or -1. To be ended in every case. */
int cli_filter_init(const cli_filter_options *options, cli_filter *ret_filter);
void cli_filter_fini(cli_filter *filter);
/* A name that no service can have is printed. Exit code or -1. */
int cli_check_service(const char *name);
/* The same of a name that no consumer can have; NULL and "" can be. */
int cli_check_consumer(const char *name);

/* ---- a list that is looked at ---- */

/* A watcher of a command. The first part is set before cli_run_watcher. */
typedef struct cli_watcher {
    const char *service;    /* NULL: all */
    const char *saved_list; /* NULL: none; else all services are watched, too */
    const char *consumer;   /* NULL: not announced */
    /* It goes on until a signal, without --timeout, and its last event is given to on_event. */
    bool is_endless;
    void (*on_event)(const fw_watcher_event *event, void *arg);
    /* The time of --timeout, or of cli_watcher_wait, is over, and there is a list, complete or
     * saved. Without one the program ends with the reason. NULL if it is endless. */
    void (*on_time)(void *arg);
    /* A signal came; true: it goes on. NULL: no. */
    bool (*on_signal)(void *arg);
    void *arg;

    cli_context *cli;
    fw_watcher *watcher;
    uv_timer_t timer;
    bool restored, synced, is_ended;
    int reason; /* why the list has not come, or is old; 0: none */
    char detail[512];
} cli_watcher;

/* Opens the store and runs the watcher until cli_watcher_end. Mistakes are printed. Exit code. */
int cli_run_watcher(cli_context *cli, cli_watcher *watch);
/* on_time is called after so long, instead of when it was to be. */
void cli_watcher_wait(cli_watcher *watch, uint32_t ms);
/* No event comes any more. */
void cli_watcher_end(cli_watcher *watch, int exit_code);

/* ---- instances on the screen ---- */

cJSON *cli_json_instance(const fw_instance *instance);
/* One line: mark, instance, and a note behind it ("": none). */
void cli_print_instance(const char *mark, const fw_instance *instance, const char *note);

/* ---- commands ---- */
int cmd_call(cli_context *cli, int argc, char **argv);
int cmd_demo(cli_context *cli, int argc, char **argv);
int cmd_doctor(cli_context *cli, int argc, char **argv);
int cmd_drain(cli_context *cli, int argc, char **argv);
int cmd_gateway(cli_context *cli, int argc, char **argv);
int cmd_kv_cad(cli_context *cli, int argc, char **argv);
int cmd_kv_cas(cli_context *cli, int argc, char **argv);
int cmd_kv_del(cli_context *cli, int argc, char **argv);
int cmd_kv_exists(cli_context *cli, int argc, char **argv);
int cmd_kv_get(cli_context *cli, int argc, char **argv);
int cmd_kv_lock(cli_context *cli, int argc, char **argv);
int cmd_kv_ls(cli_context *cli, int argc, char **argv);
int cmd_kv_put(cli_context *cli, int argc, char **argv);
int cmd_kv_rmtree(cli_context *cli, int argc, char **argv);
int cmd_kv_txn(cli_context *cli, int argc, char **argv);
int cmd_kv_watch(cli_context *cli, int argc, char **argv);
int cmd_kv_conform(cli_context *cli, int argc, char **argv);
int cmd_ping(cli_context *cli, int argc, char **argv);
int cmd_register(cli_context *cli, int argc, char **argv);
int cmd_resolve(cli_context *cli, int argc, char **argv);
int cmd_serve(cli_context *cli, int argc, char **argv);
int cmd_services(cli_context *cli, int argc, char **argv);
int cmd_version(cli_context *cli, int argc, char **argv);
int cmd_watch(cli_context *cli, int argc, char **argv);
int cmd_why(cli_context *cli, int argc, char **argv);

#endif

/*
 * The life of a program: its components start in order, each when the one before it is ready, and
 * stop in reverse, on a signal or when the program wants it.
 *
 *     NEW -> STARTING -> RUNNING -> DRAINING -> STOPPING -> ENDED
 *                 \_____________________________/
 *
 *     STARTING  one start after the other; if one fails, those before it are stopped
 *     RUNNING   until a signal, or fw_app_stop
 *     DRAINING  in reverse order, each component lets end what it has begun and takes nothing new;
 *               at most drain_timeout_ms for all of them
 *     STOPPING  in reverse order; at most stop_timeout_ms for all of them
 *
 * An app belongs to its loop. Every function of a component runs on it, never inside a call of an
 * fw_app_ function.
 */
#ifndef FAIRWAY_APP_H
#define FAIRWAY_APP_H

#include <fairway/loop.h>

FW_BEGIN_DECLS

typedef struct fw_app fw_app;

/* What a component is asked to do. It answers with fw_app_done, at once or later. */
typedef struct fw_app_step fw_app_step;
typedef void (*fw_app_step_fn)(fw_app_step *step, void *arg);

typedef struct fw_app_component {
    const char *name;     /* for messages */
    fw_app_step_fn start; /* NULL: there is nothing to do; the same for the others */
    /* Only of an app that was RUNNING. When its time is over it is not waited for: stop follows,
     * and the answer may come until stop has answered, or never. */
    fw_app_step_fn drain;
    /* Only of a component whose start has succeeded: a start that fails cleans up behind itself. */
    fw_app_step_fn stop;
    void *arg; /* given to all three */
} fw_app_component;

/* How it ended. */
typedef struct fw_app_end {
    /* FW_OK: as a signal or fw_app_stop(app, 0) asked. Else the first thing that went wrong: the
     * error of a start or a stop, or what fw_app_stop was given. A forced end has FW_EDEADLINE (a
     * start or a stop was not over in time) or FW_ECANCELED (a signal did not wait for it). */
    int status;
    const char *component; /* where that was; NULL: in none */
    const char *detail;    /* in words; "" if there are none */
    int signal;            /* the last one that came; 0: none did */
    /* component has not answered, and it and those before it were not stopped: the program should
     * exit, since what they have is still there. */
    bool is_forced;
} fw_app_end;

typedef struct fw_app_options {
    uint32_t drain_timeout_ms; /* 0: 10,000 */
    uint32_t stop_timeout_ms;  /* 0: 10,000; also for a start that is under way when it is to end */
    /* SIGINT and SIGTERM are not watched for: the program does, and calls fw_app_signal. */
    bool no_signals;
    void (*on_running)(fw_app *app, void *arg); /* all have started; may be NULL */
    /* The end begins, before the first drain: by this signal, or 0. May be NULL. */
    void (*on_ending)(fw_app *app, int signal, void *arg);
    /* Last, and once, if fw_app_start returned 0; required. The app is freed after it. */
    void (*on_ended)(fw_app *app, const fw_app_end *end, void *arg);
    void *arg; /* given to the three */
} fw_app_options;

/* An app of no components yet. UV_EINVAL: on_ended is missing; UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_app_new(fw_loop *loop, const fw_app_options *options, fw_app **ret_app);
/* Frees an app that was not started. NULL is one. */
FW_API void fw_app_discard(fw_app *app);

/* Adds a component, which is copied with its name. UV_EINVAL: there is no name, or the app has been
 * started; UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_app_add(fw_app *app, const fw_app_component *component);

/* Begins. If signals cannot be watched for it ends with that error. UV_EINVAL: it has been started.
 */
FW_API FW_MUST_CHECK int fw_app_start(fw_app *app);

/* Ends a step: 0, or an error with its words (NULL: none; copied). Once for each step, callable
 * inside the component's function. An error of a drain is logged and changes nothing, one of a stop
 * does not keep the others from being stopped. */
FW_API void fw_app_done(fw_app_step *step, int status, const char *detail);

/* Begins the end, with what is to be told by it: 0, or an error of a component that cannot go on,
 * and its words (NULL: none). Nothing if the end has begun. */
FW_API void fw_app_stop(fw_app *app, int status, const char *detail);

/* What a signal does: the first begins the end, the next one ends the drain, and one that comes
 * while a start or a stop is waited for makes it a forced end. */
FW_API void fw_app_signal(fw_app *app, int signal);

FW_END_DECLS

#endif

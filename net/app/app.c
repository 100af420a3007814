/*
 * Vocabulary: `at` is the component whose step is open, or was the last one; `started` counts those
 * whose start has succeeded: they are components 0 to started - 1.
 *
 * Every change of state is made in advance(), which is deferred when a step has ended, when the end
 * is asked for, and when a deadline has passed. So no function of a component runs inside another.
 *
 * Lifetime: on_ended, then the app is freed; but if it was forced, with the answer of the step that
 * was open, since its component has the step's address.
 */
#include "base/log.h"
#include "base/loop.h"

#include <assert.h>
#include <fairway/app.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define DEFAULT_TIMEOUT_MS 10000
#define SIGNALS            2

enum state { NEW, STARTING, RUNNING, DRAINING, STOPPING, ENDED };
enum kind { START, DRAIN, STOP, KINDS };

struct fw_app_step {
    struct part *part;
    bool is_open; /* asked, and not yet answered */
};

struct part {
    fw_app *app;
    char *name;
    fw_app_step_fn fns[KINDS];
    void *arg;
    fw_app_step steps[KINDS];
};

struct fw_app {
    fw_loop *loop;
    fw_app_options options;
    struct part **parts;
    size_t count, started, at;
    enum state state;
    bool is_end_wanted, is_end_told, is_ended_told;
    bool is_late, is_pressed; /* the deadline has passed; one more signal came: in this state */
    fwi_task advance;
    fwi_timer deadline;
    uv_signal_t signals[SIGNALS];
    size_t open_handles;

    fw_app_end end;
    char detail[512];
};

static const char *const kind_names[] = {"start", "drain", "stop"};

/* ---- making ---- */

static void advance(fwi_task *task, void *arg);
static void on_deadline(fwi_timer *timer, void *arg);

int fw_app_new(fw_loop *loop, const fw_app_options *options, fw_app **ret_app)
{
    if (!options->on_ended)
        return UV_EINVAL;
    fw_app *app = calloc(1, sizeof *app);
    if (!app)
        return UV_ENOMEM;
    app->loop = loop;
    app->options = *options;
    if (!app->options.drain_timeout_ms)
        app->options.drain_timeout_ms = DEFAULT_TIMEOUT_MS;
    if (!app->options.stop_timeout_ms)
        app->options.stop_timeout_ms = DEFAULT_TIMEOUT_MS;
    app->end.detail = app->detail;
    app->advance = (fwi_task){.fn = advance, .arg = app};
    app->deadline = (fwi_timer){.fn = on_deadline, .arg = app};
    *ret_app = app;
    return FW_OK;
}

void fw_app_discard(fw_app *app)
{
    if (!app)
        return;
    assert(app->state == NEW || app->state == ENDED);
    for (size_t i = 0; i < app->count; i++) {
        free(app->parts[i]->name);
        free(app->parts[i]);
    }
    free(app->parts);
    free(app);
}

int fw_app_add(fw_app *app, const fw_app_component *component)
{
    if (app->state != NEW || !component->name)
        return UV_EINVAL;
    struct part **parts = realloc(app->parts, (app->count + 1) * sizeof *parts);
    if (!parts)
        return UV_ENOMEM;
    app->parts = parts;
    struct part *part = calloc(1, sizeof *part);
    char *name = strdup(component->name);
    if (!part || !name) {
        free(part);
        free(name);
        return UV_ENOMEM;
    }
    *part = (struct part){.app = app,
                          .name = name,
                          .fns = {component->start, component->drain, component->stop},
                          .arg = component->arg};
    for (int kind = 0; kind < KINDS; kind++)
        part->steps[kind].part = part;
    parts[app->count++] = part;
    return FW_OK;
}

/* ---- the end ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    fw_app *app = handle->data;
    app->open_handles--;
    fwi_loop_defer(app->loop, &app->advance);
}

static void close_signals(fw_app *app)
{
    for (size_t i = 0; i < app->open_handles; i++)
        uv_close((uv_handle_t *)&app->signals[i], on_handle_closed);
}

/* The first thing that goes wrong is what is told. */
static void note(fw_app *app, int status, const struct part *part, const char *detail)
{
    if (!status || app->end.status)
        return;
    app->end.status = status;
    app->end.component = part ? part->name : NULL;
    snprintf(app->detail, sizeof app->detail, "%s", detail ? detail : "");
}

static void enter(fw_app *app, enum state state)
{
    app->state = state;
    app->is_late = false;
    if (state == STOPPING) /* what was pressed before has ended the drain */
        app->is_pressed = false;
    fwi_loop_timer_stop(app->loop, &app->deadline);
    if (state == DRAINING)
        fwi_loop_timer_start(app->loop, &app->deadline, app->options.drain_timeout_ms);
    if (state == STOPPING)
        fwi_loop_timer_start(app->loop, &app->deadline, app->options.stop_timeout_ms);
    if (state == DRAINING || state == STOPPING)
        app->at = app->started;
    if (state == ENDED)
        close_signals(app);
}

/* The end that does not wait for a component. */
static void force(fw_app *app, const struct part *part, const char *what)
{
    char detail[200];
    int status = app->is_pressed ? FW_ECANCELED : FW_EDEADLINE;
    snprintf(detail, sizeof detail, "%s has not ended", what);
    app->end.status = FW_OK; /* it is more than what went wrong before */
    note(app, status, part, detail);
    app->end.is_forced = true;
    enter(app, ENDED);
}

static void want_end(fw_app *app)
{
    app->is_end_wanted = true;
    if (app->state == STARTING) /* for the start that is under way */
        fwi_loop_timer_start(app->loop, &app->deadline, app->options.stop_timeout_ms);
    fwi_loop_defer(app->loop, &app->advance);
}

static bool is_up(const fw_app *app)
{
    return !app->is_end_wanted && (app->state == STARTING || app->state == RUNNING);
}

void fw_app_stop(fw_app *app, int status, const char *detail)
{
    if (!is_up(app))
        return;
    note(app, status, NULL, detail);
    want_end(app);
}

void fw_app_signal(fw_app *app, int signal)
{
    if (app->state == NEW || app->state == ENDED)
        return;
    app->end.signal = signal;
    if (is_up(app)) {
        want_end(app);
    } else {
        app->is_pressed = true;
        fwi_loop_defer(app->loop, &app->advance);
    }
}

static void on_signal(uv_signal_t *handle, int signal)
{
    fw_app_signal(handle->data, signal);
}

static void on_deadline(fwi_timer *timer, void *arg)
{
    (void)timer;
    fw_app *app = arg;
    app->is_late = true;
    fwi_loop_defer(app->loop, &app->advance);
}

/* ---- steps ---- */

static void ask(fw_app *app, enum kind kind)
{
    struct part *part = app->parts[app->at];
    fw_app_step *step = &part->steps[kind];
    fwi_log(FW_LOG_DEBUG, "app", kind_names[kind], FWI_TEXT("component", part->name));
    step->is_open = true;
    if (part->fns[kind])
        part->fns[kind](step, part->arg);
    else
        fw_app_done(step, FW_OK, NULL);
}

void fw_app_done(fw_app_step *step, int status, const char *detail)
{
    struct part *part = step->part;
    fw_app *app = part->app;
    enum kind kind = (enum kind)(step - part->steps);
    assert(step->is_open);
    step->is_open = false;
    if (status) /* on_ended tells of the others */
        fwi_log(kind == DRAIN ? FW_LOG_WARN : FW_LOG_DEBUG, "app", "step failed",
                FWI_TEXT("step", kind_names[kind]), FWI_TEXT("component", part->name),
                FWI_TEXT("reason", fw_strerror(status)), FWI_TEXT("detail", detail ? detail : ""));
    if (app->state != ENDED && kind != DRAIN)
        note(app, status, part, detail);
    if (kind == START && !status)
        app->started++;
    else if (kind == START)
        app->is_end_wanted = true;
    fwi_loop_defer(app->loop, &app->advance);
}

/* Starts the next one, if that before it has answered. */
static void go_up(fw_app *app)
{
    struct part *part = app->started < app->count ? app->parts[app->started] : NULL;
    if (part && part->steps[START].is_open) {
        if (app->is_late || app->is_pressed)
            force(app, part, "start");
    } else if (app->is_end_wanted) {
        enter(app, STOPPING);
    } else if (part) {
        app->at = app->started;
        ask(app, START);
    } else {
        enter(app, RUNNING);
        fwi_log(FW_LOG_DEBUG, "app", "running", FWI_NUMBER("components", app->count));
        if (app->options.on_running)
            app->options.on_running(app, app->options.arg);
    }
}

/* The next one down, if the one above it has answered. True: there is none left. */
static bool go_down(fw_app *app, enum kind kind)
{
    if (app->at < app->started && app->parts[app->at]->steps[kind].is_open)
        return false;
    if (!app->at)
        return true;
    app->at--;
    ask(app, kind);
    return false;
}

static void drain(fw_app *app)
{
    if (app->is_late && app->at < app->started)
        fwi_log(FW_LOG_WARN, "app", "drain is not over in time",
                FWI_TEXT("component", app->parts[app->at]->name));
    if (app->is_late || app->is_pressed || go_down(app, DRAIN))
        enter(app, STOPPING);
}

static void stop(fw_app *app)
{
    bool is_open = app->at < app->started && app->parts[app->at]->steps[STOP].is_open;
    if (is_open && (app->is_late || app->is_pressed))
        force(app, app->parts[app->at], "stop");
    else if (go_down(app, STOP))
        enter(app, ENDED);
}

/* Somebody has the address of a step and may still answer. */
static bool is_awaited(const fw_app *app)
{
    for (size_t i = 0; app->end.is_forced && i < app->count; i++)
        for (int kind = 0; kind < KINDS; kind++)
            if (app->parts[i]->steps[kind].is_open)
                return true;
    return false;
}

static void finish(fw_app *app)
{
    if (!app->is_ended_told) {
        app->is_ended_told = true;
        fwi_log(FW_LOG_DEBUG, "app", "ended", FWI_TEXT("reason", fw_strerror(app->end.status)));
        fwi_loop_release(app->loop);
        app->options.on_ended(app, &app->end, app->options.arg);
    }
    if (is_awaited(app))
        return;
    fwi_loop_defer_cancel(app->loop, &app->advance); /* an answer in on_ended */
    fw_app_discard(app);
}

static void advance(fwi_task *task, void *arg)
{
    (void)task;
    fw_app *app = arg;
    enum state before = app->state;
    if (app->is_end_wanted && !app->is_end_told) {
        app->is_end_told = true;
        fwi_log(FW_LOG_DEBUG, "app", "ending", FWI_NUMBER("signal", app->end.signal));
        if (app->options.on_ending)
            app->options.on_ending(app, app->end.signal, app->options.arg);
    }
    if (before == STARTING)
        go_up(app);
    else if (before == RUNNING && app->is_end_wanted)
        enter(app, DRAINING);
    else if (before == DRAINING)
        drain(app);
    else if (before == STOPPING)
        stop(app);
    if (app->state != before)
        fwi_loop_defer(app->loop, &app->advance);
    else if (app->state == ENDED && !app->open_handles)
        finish(app);
}

static int watch_signals(fw_app *app)
{
    static const int numbers[SIGNALS] = {SIGINT, SIGTERM};
    int err = FW_OK;
    for (size_t i = 0; !err && i < SIGNALS; i++) {
        err = uv_signal_init(fw_loop_uv(app->loop), &app->signals[i]);
        if (err)
            break;
        app->open_handles++;
        app->signals[i].data = app;
        err = uv_signal_start(&app->signals[i], on_signal, numbers[i]);
    }
    return err;
}

int fw_app_start(fw_app *app)
{
    if (app->state != NEW)
        return UV_EINVAL;
    app->state = STARTING;
    fwi_loop_hold(app->loop);
    int err = app->options.no_signals ? FW_OK : watch_signals(app);
    note(app, err, NULL, "signals cannot be watched for");
    app->is_end_wanted = err != FW_OK;
    fwi_loop_defer(app->loop, &app->advance);
    return FW_OK;
}

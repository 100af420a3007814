#include "app_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MOST_PARTS 16

struct part {
    fw_loop *loop;
    const char *description;
    char name[32];
};

void (*app_say)(const char *what, const char *who);
fw_app_step *app_hanging;

static void answer_late(fw_loop *loop, void *arg)
{
    (void)loop;
    fw_app_done(arg, 0, NULL);
}

static void do_step(fw_app_step *step, const struct part *part, const char *what)
{
    char wanted[32];
    app_say(what, part->name);
    snprintf(wanted, sizeof wanted, ":%s-", what);
    const char *how = strstr(part->description, wanted);
    how = how ? how + strlen(wanted) : "";
    if (!strncmp(how, "hang", 4))
        app_hanging = step;
    else if (!strncmp(how, "fail", 4))
        fw_app_done(step, UV_EIO, "no luck");
    else if (strncmp(how, "late", 4) || fw_loop_post(part->loop, answer_late, step))
        fw_app_done(step, 0, NULL);
}

static void start(fw_app_step *step, void *arg)
{
    do_step(step, arg, "start");
}

static void drain(fw_app_step *step, void *arg)
{
    do_step(step, arg, "drain");
}

static void stop(fw_app_step *step, void *arg)
{
    do_step(step, arg, "stop");
}

int app_add_part(fw_app *app, fw_loop *loop, const char *description)
{
    static struct part parts[MOST_PARTS];
    static size_t count;
    struct part *part = &parts[count++ % MOST_PARTS];
    *part = (struct part){.loop = loop, .description = description};
    snprintf(part->name, sizeof part->name, "%.*s", (int)strcspn(description, ":"), description);
    return fw_app_add(app, &(fw_app_component){part->name, start, drain, stop, part});
}

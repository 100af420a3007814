#include "demo_children.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ARGS    32
#define PATIENCE_MS 3000

static void on_patience_closed(uv_handle_t *handle)
{
    demo_children *children = handle->data;
    children->on_all_gone(children->arg);
}

static void finish_if_gone(demo_children *children)
{
    if (children->ending != 1)
        return;
    for (size_t i = 0; i < children->count; i++)
        if (children->child[i].open_handles)
            return;
    children->ending = 2;
    uv_close((uv_handle_t *)&children->patience, on_patience_closed);
}

static void on_handle_closed(uv_handle_t *handle)
{
    demo_child *child = handle->data;
    child->open_handles--;
    finish_if_gone(child->all);
}

static void on_exit_child(uv_process_t *process, int64_t status, int signal)
{
    demo_child *child = process->data;
    child->running = 0;
    uv_close((uv_handle_t *)process, on_handle_closed);
    child->all->on_exit(child, (int)status, signal, child->all->arg);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    demo_child *child = handle->data;
    *buf = uv_buf_init(child->line + child->line_len,
                       (unsigned)(sizeof child->line - 1 - child->line_len));
}

static void take_lines(demo_child *child)
{
    char *end;
    child->line[child->line_len] = 0;
    while ((end = strchr(child->line, '\n'))) {
        *end = 0;
        cJSON *event = cJSON_Parse(child->line);
        if (event)
            child->all->on_event(child, event, child->all->arg);
        cJSON_Delete(event);
        child->line_len -= (size_t)(end + 1 - child->line);
        memmove(child->line, end + 1, child->line_len + 1);
    }
    if (child->line_len == sizeof child->line - 1)
        child->line_len = 0; /* no event of ours is that long */
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    demo_child *child = stream->data;
    if (n > 0) {
        child->line_len += (size_t)n;
        take_lines(child);
    } else if (n < 0) {
        uv_close((uv_handle_t *)stream, on_handle_closed);
    }
}

demo_child *demo_child_start(demo_children *children, const char *name, const char *const *args,
                             int *ret_error)
{
    *ret_error = UV_ENOMEM;
    if (children->count == DEMO_MAX_CHILDREN)
        return NULL;
    demo_child *child = &children->child[children->count];
    char program[4096];
    size_t size = sizeof program;
    *ret_error = uv_exepath(program, &size);
    if (*ret_error)
        return NULL;
    char *argv[MAX_ARGS + 2] = {program};
    for (int i = 0; i < MAX_ARGS && args[i]; i++)
        argv[i + 1] = (char *)args[i];
    uv_pipe_init(children->loop, &child->out, 0);
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&child->out},
        {.flags = UV_IGNORE},
    };
    uv_process_options_t options = {
        .file = program, .args = argv, .stdio = stdio, .stdio_count = 3, .exit_cb = on_exit_child};
    snprintf(child->name, sizeof child->name, "%s", name);
    child->all = children;
    child->process.data = child->out.data = child;
    child->open_handles = 2;
    children->count++;
    *ret_error = uv_spawn(children->loop, &child->process, &options);
    if (*ret_error) {
        uv_close((uv_handle_t *)&child->process, on_handle_closed);
        uv_close((uv_handle_t *)&child->out, on_handle_closed);
        return NULL;
    }
    child->running = 1;
    uv_read_start((uv_stream_t *)&child->out, on_alloc, on_read);
    return child;
}

static void signal_all(demo_children *children, int signal)
{
    for (size_t i = 0; i < children->count; i++)
        if (children->child[i].running)
            uv_process_kill(&children->child[i].process, signal);
}

static void on_patience(uv_timer_t *timer)
{
    signal_all(timer->data, SIGKILL);
}

void demo_children_end(demo_children *children)
{
    if (children->ending)
        return;
    children->ending = 1;
    uv_timer_init(children->loop, &children->patience);
    children->patience.data = children;
    uv_timer_start(&children->patience, on_patience, PATIENCE_MS, 0);
    signal_all(children, SIGTERM);
    finish_if_gone(children);
}

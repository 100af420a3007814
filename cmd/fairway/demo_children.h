/* The processes of the demo: this same program, started again with another command. */
#ifndef DEMO_CHILDREN_H
#define DEMO_CHILDREN_H

#include <cjson/cJSON.h>
#include <uv.h>

#define DEMO_MAX_CHILDREN 8

struct demo_children;

typedef struct demo_child {
    struct demo_children *all;
    char name[32];
    uv_process_t process;
    uv_pipe_t out;
    char line[4096];
    size_t line_len;
    int open_handles;
    int running;
} demo_child;

typedef struct demo_children {
    uv_loop_t *loop;
    demo_child child[DEMO_MAX_CHILDREN];
    size_t count;
    /* A line of a child's output, as JSON (deleted after the return). */
    void (*on_event)(demo_child *child, const cJSON *event, void *arg);
    void (*on_exit)(demo_child *child, int code, int signal, void *arg);
    void (*on_all_gone)(void *arg); /* after demo_children_end */
    void *arg;
    int ending;
    uv_timer_t patience;
} demo_children;

/* Starts /proc/self/exe with the arguments (NULL-terminated, without argv[0]). NULL: *ret_error
 * says why. */
demo_child *demo_child_start(demo_children *children, const char *name, const char *const *args,
                             int *ret_error);
/* SIGTERM to all, SIGKILL to those that are left after three seconds; then on_all_gone. */
void demo_children_end(demo_children *children);

#endif

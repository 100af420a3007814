/*
 * A service whose handler waits for the disk: it does that on a thread of a pool, not on the loop.
 *   example_pool tcp://127.0.0.1:7000
 * See README.md beside this file.
 */
#include <fairway/error.h>
#include <fairway/pool.h>
#include <fairway/rpc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct service {
    fw_loop *loop;
    fw_pool *pool;
};

/* What a thread needs of a request, and what it found. Nobody else looks at it meanwhile. */
struct job {
    fw_rpc_request *request;
    char path[1000];
    unsigned long lines;
    bool failed;
};

/* On a thread of the pool. */
static void count_lines(void *arg)
{
    struct job *job = arg;
    FILE *file = fopen(job->path, "r");
    int c;
    job->failed = !file;
    while (file && (c = getc(file)) != EOF)
        if (c == '\n' && ++job->lines % 100000 == 0 && fw_rpc_request_is_canceled(job->request))
            break; /* nobody waits for the answer any more */
    if (file)
        fclose(file);
}

/* Back on the loop. */
static void on_counted(int status, void *arg)
{
    struct job *job = arg;
    char text[32];
    int len = snprintf(text, sizeof text, "%lu", job->lines);
    if (status || job->failed)
        fw_rpc_fail(job->request, 1, status ? fw_strerror(status) : "cannot be read");
    else
        fw_rpc_reply(job->request, (fw_slice){text, (size_t)len});
    free(job);
}

static void on_lines(fw_rpc_request *request, void *arg)
{
    struct service *service = arg;
    fw_slice path = fw_rpc_request_body(request);
    struct job *job = calloc(1, sizeof *job);
    /* To be answered after the return. */
    if (job && path.len < sizeof job->path)
        job->request = fw_rpc_request_keep(request);
    if (!job || !job->request) {
        free(job);
        return; /* a request without an answer is answered with an error */
    }
    memcpy(job->path, path.data, path.len);
    fw_pool_work work = {.run = count_lines, .done = on_counted, .arg = job};
    int err = fw_pool_submit(service->pool, service->loop, &work);
    if (err) /* too much is waiting: say so now, rather than let everybody wait */
        on_counted(err, job);
}

int main(int argc, char **argv)
{
    struct service service;
    fw_rpc_router *router;
    fw_rpc_server *server;
    const char *url = argc > 1 ? argv[1] : "tcp://127.0.0.1:7000";

    int err = fw_loop_new(&service.loop);
    fw_pool_options threads = {.threads = 4, .max_queued = 1000};
    if (!err)
        err = fw_pool_new(service.loop, &threads, &service.pool);
    if (!err)
        err = fw_rpc_router_create(&router);
    if (!err)
        err = fw_rpc_router_add(router, "lines", on_lines, &service);
    fw_rpc_server_options options = {0};
    if (!err) {
        options.connection.router = router;
        err = fw_rpc_server_new(service.loop, url, &options, &server);
    }
    if (err) {
        fprintf(stderr, "%s: %s\n", url, fw_strerror(err));
        return 1;
    }
    printf("listening on %s\n", fw_rpc_server_url(server));
    fflush(stdout);
    return fw_loop_run(service.loop);
}

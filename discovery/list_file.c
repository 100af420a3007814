/*
 *     READING --> IDLE <--written-- WRITING
 *                  |__save_after____^        a change while writing: once more afterwards
 *
 * Closing waits for what is under way, and writes what is not written.
 */
#include "list_file.h"

#include "base/log.h"

#include <fairway/error.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct fwi_list_file {
    fw_loop *loop;
    fwi_list_file_options options;
    char *path;
    uv_work_t work;
    fwi_saved_list list; /* what was read, or is written */
    int error;           /* of the work */
    bool is_busy, is_dirty, closing;
    fwi_timer save;
    fwi_task end;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

static void write_now(fwi_list_file *file);

static void on_end(fwi_task *task, void *arg)
{
    (void)task;
    fwi_list_file *file = arg;
    void (*on_closed)(void *) = file->on_closed;
    void *closed_arg = file->closed_arg;
    free(file->path);
    free(file);
    on_closed(closed_arg);
}

/* After work, and when closing begins. */
static void go_on(fwi_list_file *file)
{
    if (file->is_busy)
        return;
    if (file->closing && file->is_dirty) {
        write_now(file);
    } else if (file->closing) {
        file->end = (fwi_task){.fn = on_end, .arg = file};
        fwi_loop_defer(file->loop, &file->end);
    } else if (file->is_dirty && !fwi_timer_armed(&file->save)) {
        fwi_loop_timer_start(file->loop, &file->save, file->options.save_after_ms);
    }
}

static void work_done(fwi_list_file *file)
{
    file->is_busy = false;
    fwi_set_release(file->list.instances);
    file->list.instances = NULL;
    go_on(file);
}

/* ---- writing ---- */

static void do_write(uv_work_t *work)
{
    fwi_list_file *file = work->data;
    file->error = fwi_saved_list_write(file->path, &file->list);
    OPENSSL_thread_stop(); /* the checksum's: libuv's threads do not end */
}

static void report_write(fwi_list_file *file)
{
    if (file->error)
        fwi_log(FW_LOG_WARN, "watcher", "list not saved", FWI_TEXT("path", file->path),
                FWI_TEXT("reason", fw_strerror(file->error)));
}

static void on_written(uv_work_t *work, int status)
{
    fwi_list_file *file = work->data;
    if (status)
        file->error = status;
    report_write(file);
    work_done(file);
}

static void write_now(fwi_list_file *file)
{
    fwi_loop_timer_stop(file->loop, &file->save);
    file->is_dirty = false;
    file->is_busy = true;
    file->options.on_write(&file->list, file->options.arg);
    /* Once it is queued, the error is the worker's to set. */
    int err = uv_queue_work(fw_loop_uv(file->loop), &file->work, do_write, on_written);
    if (err) {
        file->error = err;
        report_write(file);
        work_done(file);
    }
}

static void on_save(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_list_file *file = arg;
    if (file->is_dirty && !file->is_busy)
        write_now(file);
}

void fwi_list_file_touch(fwi_list_file *file)
{
    file->is_dirty = true;
    if (!file->closing)
        go_on(file);
}

/* ---- reading ---- */

static void do_read(uv_work_t *work)
{
    fwi_list_file *file = work->data;
    file->error = fwi_saved_list_read(file->path, &file->list);
    OPENSSL_thread_stop();
}

static void on_read(uv_work_t *work, int status)
{
    fwi_list_file *file = work->data;
    if (status)
        file->error = status;
    if (!file->closing)
        file->options.on_read(&file->list, file->error, file->options.arg);
    work_done(file);
}

/* ---- life ---- */

int fwi_list_file_new(fw_loop *loop, const fwi_list_file_options *options, fwi_list_file **ret_file)
{
    fwi_list_file *file = calloc(1, sizeof *file);
    if (!file || !(file->path = strdup(options->path))) {
        free(file);
        return UV_ENOMEM;
    }
    file->loop = loop;
    file->options = *options;
    file->save = (fwi_timer){.fn = on_save, .arg = file};
    file->work.data = file;
    int err = uv_queue_work(fw_loop_uv(loop), &file->work, do_read, on_read);
    if (err) {
        free(file->path);
        free(file);
        return err;
    }
    file->is_busy = true;
    *ret_file = file;
    return FW_OK;
}

void fwi_list_file_close(fwi_list_file *file, void (*on_closed)(void *arg), void *arg)
{
    file->closing = true;
    file->on_closed = on_closed;
    file->closed_arg = arg;
    fwi_loop_timer_stop(file->loop, &file->save);
    go_on(file);
}

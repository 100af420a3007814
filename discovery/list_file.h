/*
 * Keeps the list of a watcher on disk: reads it once, and writes it some time after a change, both
 * in libuv's threads. A list is a version of a set, so that writing it does not disturb who changes
 * it.
 */
#ifndef FWI_LIST_FILE_H
#define FWI_LIST_FILE_H

#include "saved_list.h"

#include "base/loop.h"

typedef struct fwi_list_file fwi_list_file;

typedef struct fwi_list_file_options {
    const char *path;       /* copied */
    uint32_t save_after_ms; /* how long changes are gathered */
    /* Once, on the loop: what the file said (list is lent), or why it says nothing. */
    void (*on_read)(const fwi_saved_list *list, int error, void *arg);
    /* Asked for the list when it is to be written; the set is taken over. */
    void (*on_write)(fwi_saved_list *ret_list, void *arg);
    void *arg;
} fwi_list_file_options;

FW_MUST_CHECK int fwi_list_file_new(fw_loop *loop, const fwi_list_file_options *options,
                                    fwi_list_file **ret_file);
/* The list has changed. */
void fwi_list_file_touch(fwi_list_file *file);
/* Writes what is not written yet; calls nothing but on_write and then on_closed. */
void fwi_list_file_close(fwi_list_file *file, void (*on_closed)(void *arg), void *arg);

#endif

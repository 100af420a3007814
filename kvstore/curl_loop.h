/*
 * curl's multi handle on a loop: one uv_poll for each socket that curl wants watched, one timer for
 * what curl wants done later, and a task for what it wants done now (a timer of 0 ms would cost
 * every transfer a millisecond).
 *
 *     uv_poll, timer, kick -> curl_multi_socket_action -> curl's callbacks: keep what came
 *                          -> on_done for each transfer that has ended, then on_turn
 *
 * curl refuses to be called from its own callbacks. So these only keep what came; in on_done and
 * on_turn transfers may be started, dropped and ended as one likes.
 *
 * It is compiled into each module that uses curl, so that nobody else links it. Everything runs on
 * the loop's thread; curl's resolver has threads of its own for names.
 */
#ifndef FWI_CURL_LOOP_H
#define FWI_CURL_LOOP_H

#include "base/loop.h"

#include <curl/curl.h>

typedef struct fwi_curl_loop {
    CURLM *multi; /* NULL before the start and after the end */
    fw_loop *loop;
    size_t polls; /* uv handles that are not closed yet */
    fwi_timer timer;
    fwi_task kick;
    /* A transfer has ended; it is still in multi. */
    void (*on_done)(CURL *easy, CURLcode result, void *arg);
    /* curl has done something; may be NULL. */
    void (*on_turn)(void *arg);
    /* One of the polls is closed. */
    void (*on_poll_closed)(void *arg);
    void *arg;
} fwi_curl_loop;

/* Starts it in the caller's memory, with the functions and arg set. UV_ENOMEM. */
FW_MUST_CHECK int fwi_curl_loop_start(fwi_curl_loop *curl, fw_loop *loop);
/* Ends it; no transfer may be in it. Its memory may go when polls is 0: see on_poll_closed. Nothing
 * if it was not started, or has ended. */
void fwi_curl_loop_end(fwi_curl_loop *curl);
/* Has on_done and on_turn run in a later turn. */
void fwi_curl_loop_kick(fwi_curl_loop *curl);
/* A new easy handle with what every transfer here needs: no signals, no waiting for a look-up when
 * it is dropped, no proxy whatever the environment says. NULL: no memory. */
CURL *fwi_curl_easy_new(void);

#endif

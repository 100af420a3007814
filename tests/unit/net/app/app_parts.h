/*
 * Components that say what they are asked and answer as their description wants it:
 * "name", "name:start-fail", "name:drain-hang:stop-late". A step answers inside its function, or
 *   late   after a turn of the loop
 *   fail   with UV_EIO, "no luck"
 *   hang   never
 */
#ifndef APP_PARTS_H
#define APP_PARTS_H

#include <fairway/app.h>

/* What they say, "start name", goes here. */
extern void (*app_say)(const char *what, const char *who);

/* Adds one; its description is kept. */
int app_add_part(fw_app *app, fw_loop *loop, const char *description);
/* The step that hangs: the last of them, or NULL. */
extern fw_app_step *app_hanging;

#endif

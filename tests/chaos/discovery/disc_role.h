/* The processes of a scenario besides its director. Each runs until its sheet says "finish", and
 * returns 0, or 1 and says why on stderr. */
#ifndef DISC_ROLE_H
#define DISC_ROLE_H

#include "disc_sheet.h"

#define DISC_SERVICE "web"

/* Instances with the numbers from `first` on, each with a registrar of its own, on one handle of
 * the store and behind one listening port. */
int disc_registrars_run(const char *url, disc_sheet *sheet, uint32_t ttl_ms, uint32_t first,
                        uint32_t count);
/* Two watchers: of the service, and of all services; each has a sheet. The first says "finish". */
int disc_watchers_run(const char *url, disc_sheet *const sheets[2]);

/* ---- for both ---- */

typedef struct disc_life disc_life;
/* Opens the store on a loop of its own, and looks every some milliseconds: on_look, and when the
 * sheet says so on_finish, once. NULL: said why. */
disc_life *disc_life_new(const char *url, disc_sheet *sheet, void (*on_look)(void *arg),
                         void (*on_finish)(void *arg), void *arg);
fw_kv *disc_life_kv(const disc_life *life);
/* In on_finish: closes the store, which ends what is still open. */
void disc_life_close(disc_life *life);
/* Runs the loop until nothing lives on it any more, and frees. */
int disc_life_run(disc_life *life);

#endif

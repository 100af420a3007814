/*
 * The bell: how a writer tells the other processes that there is something new. A small file beside
 * the database that every writer writes a byte to after its commit; inotify tells who listens.
 * Where inotify is not to be had (its limit is reached), bell->listener is -1 and the owner has to
 * look more often.
 */
#ifndef FWI_LMDB_BELL_H
#define FWI_LMDB_BELL_H

typedef struct fwi_lmdb_bell {
    int file;
    int listener; /* to be polled for reading; -1: cannot listen */
} fwi_lmdb_bell;

/* 0 or an errno. */
int fwi_lmdb_bell_init(fwi_lmdb_bell *bell, const char *directory);
void fwi_lmdb_bell_fini(fwi_lmdb_bell *bell);
void fwi_lmdb_bell_ring(const fwi_lmdb_bell *bell);
/* Takes what has arrived. */
void fwi_lmdb_bell_drain(const fwi_lmdb_bell *bell);

#endif

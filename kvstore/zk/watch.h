/*
 * The inner side of watches: a mirror of the znodes that a watch is about.
 *
 * Rounds. ZooKeeper tells that a node has changed, once, and not how: it is read again, which also
 * sets the next watch. What is told while a round of reads is out is read in the next. When round
 * N + 1 has ended, everything up to the largest revision that round N saw is known: an answer with
 * that revision came behind what ZooKeeper had to tell up to it, and that was read in round N + 1.
 * So then those changes are delivered, in their order; later ones wait for the next round. If
 * nothing is left to read after a round, all is delivered.
 */
#ifndef FWI_ZK_WATCH_H
#define FWI_ZK_WATCH_H

#include "store.h"

typedef struct fwi_zk_watch fwi_zk_watch;
typedef struct fwi_zk_node fwi_zk_node;

/* A key, and the two znodes that may hold it. */
typedef struct fwi_zk_key {
    char *name;
    fwi_zk_node *plain, *leased;
    int64_t gone_at; /* upper bound of the revision at which a node of it went last */
    int64_t told;    /* revision of the last PUT; 0: none, or DELETE */
    fwi_list touched;
} fwi_zk_key;

struct fwi_zk_node {
    fwi_zk_watch *watch;
    fwi_list same_path; /* of several watches of the store */
    char *path;
    char *name; /* in the directory; NULL: the root */
    fwi_zk_node *directory;
    fwi_zk_key *key;     /* NULL: only its children are wanted */
    bool wants_children; /* else the node is only looked at itself */
    fwi_map children;    /* name -> node */
    uint32_t epoch;      /* of the last listing that had it */

    fwi_list queued; /* to be read: in the watch's next or now */
    bool read_data, read_children;
    size_t outstanding;
    bool gone;
    char *probe;      /* the ancestor that is asked for the revision of a deletion */
    fwi_list waiting; /* for the answer of that */
    uint64_t sent;    /* the read, by store->reads, that what is asked next must come behind */

    fwi_zk_seen_node seen;
    bool has_value, has_data; /* has_data: the value is at hand, not only known to be there */
    bool missing;             /* when it was read last; its directory will tell */
};

struct fwi_zk_watch {
    fwi_zk_store *store;
    fw_kv_watch *front; /* NULL: stopped */
    fwi_list node;      /* the store's */
    fwi_list runnable;  /* the store's: it has something to read, or is new */
    fwi_list next, now; /* nodes to be read in the next round, and in this one */
    fwi_list touched;   /* keys that may have changed since they were told */
    fwi_map keys;
    fwi_zk_node *roots[2]; /* a tree: its root; a key: plain and leased */
    fwi_list graves;       /* nodes that are gone, and still have a request out */
    uint32_t epoch;
    size_t outstanding, references;
    bool ended, out_of_memory;
    bool in_round, round_lost; /* an answer of this round was lost: it does not count */
    bool listed;               /* the state was told; else it will be, as a list */
    unsigned untold;           /* rounds since something was told */
    unsigned rounds;           /* since the beginning, or since contact came back */
    bool coming_back;          /* LIVE is to be told */
    int64_t horizon, seen;     /* largest revision of the last round, and of all */
};

/* watch_read.c */
/* Adds a node that will be read in this round. NULL without memory. */
fwi_zk_node *fwi_zk_node_new(fwi_zk_watch *watch, fwi_zk_node *directory, const char *name,
                             char *path, bool wants_children);
FW_MUST_CHECK int fwi_zk_node_set_key(fwi_zk_node *node, const char *key, bool leased);
void fwi_zk_node_bury(fwi_zk_node *node, int64_t gone_at);
void fwi_zk_node_touch(fwi_zk_node *node);
/* Asks for it to be read again in the next round. */
void fwi_zk_node_dirty(fwi_zk_node *node, bool data, bool children);
void fwi_zk_node_dirty_all(fwi_zk_node *node);
/* Sends what is to be read now, as far as the bound on requests allows. */
void fwi_zk_watch_pump(fwi_zk_watch *watch);

/* watch.c */
/* Goes on: begins a round, or ends it. The watch may be freed in this call. */
void fwi_zk_watch_step(fwi_zk_watch *watch);
/* One of store->reads_out is answered. */
void fwi_zk_watch_read_ended(fwi_zk_store *store);
void fwi_zk_watch_fatal(fwi_zk_watch *watch, int reason, const char *detail);
void fwi_zk_watch_hold(fwi_zk_watch *watch);
void fwi_zk_watch_release(fwi_zk_watch *watch);
void fwi_zk_key_free_if_unused(fwi_zk_watch *watch, fwi_zk_key *key);

#endif

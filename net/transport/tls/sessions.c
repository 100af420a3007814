#include "transport/tls/tls.h"

#include <stdlib.h>
#include <string.h>

#define MOST_SESSIONS 256
#define MOST_OF_ONE_PEER                                                                           \
    4 /* TLS 1.3: as many connections may begin at once with a session each                        \
       */

typedef struct entry {
    fwi_list node;
    SSL_SESSION *session;
    char peer[];
} entry;

static void drop(fwi_tls_sessions *sessions, entry *one)
{
    fwi_list_remove(&one->node);
    sessions->count--;
    SSL_SESSION_free(one->session);
    free(one);
}

void fwi_tls_sessions_init(fwi_tls_sessions *sessions)
{
    fwi_list_init(&sessions->list);
    sessions->count = 0;
}

void fwi_tls_sessions_clear(fwi_tls_sessions *sessions)
{
    fwi_list_for_each_safe (node, &sessions->list)
        drop(sessions, fwi_container_of(node, entry, node));
}

static bool is_for_one_use(const SSL_SESSION *session)
{
    return SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION;
}

/* Makes room for one more of this peer: the oldest goes. */
static void make_room(fwi_tls_sessions *sessions, const char *peer, size_t most)
{
    entry *oldest = NULL;
    size_t count = 0;
    fwi_list_for_each (node, &sessions->list) {
        entry *one = fwi_container_of(node, entry, node);
        if (strcmp(one->peer, peer) != 0)
            continue;
        oldest = one;
        count++;
    }
    if (count >= most)
        drop(sessions, oldest);
    else if (sessions->count >= MOST_SESSIONS)
        drop(sessions, fwi_container_of(sessions->list.prev, entry, node));
}

bool fwi_tls_sessions_put(fwi_tls_sessions *sessions, const char *peer, SSL_SESSION *session)
{
    size_t size = strlen(peer) + 1;
    entry *one = malloc(sizeof *one + size);
    if (!one)
        return false;
    make_room(sessions, peer, is_for_one_use(session) ? MOST_OF_ONE_PEER : 1);
    one->session = session;
    memcpy(one->peer, peer, size);
    fwi_list_push_back(sessions->list.next, &one->node); /* before the first */
    sessions->count++;
    return true;
}

SSL_SESSION *fwi_tls_sessions_take(fwi_tls_sessions *sessions, const char *peer)
{
    fwi_list_for_each_safe (node, &sessions->list) {
        entry *one = fwi_container_of(node, entry, node);
        if (strcmp(one->peer, peer) != 0)
            continue;
        if (!SSL_SESSION_is_resumable(one->session)) {
            drop(sessions, one);
            continue;
        }
        SSL_SESSION *session = one->session;
        SSL_SESSION_up_ref(session);
        if (is_for_one_use(session))
            drop(sessions, one);
        return session;
    }
    return NULL;
}

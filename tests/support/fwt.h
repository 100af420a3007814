/*
 * What the tests share: a checked loop fixture that fails the test which leaves something on its
 * loop, waiting with a deadline, child processes, real servers, and golden vectors.
 */
#ifndef FWT_H
#define FWT_H

#include <check.h>
#include <fairway/error.h>
#include <fairway/loop.h>
#include <stdbool.h>
#include <sys/types.h>

/* ---- the loop of the running test ---- */
extern fw_loop *fwt_loop;
void fwt_loop_setup(void);
void fwt_loop_teardown(void); /* fails if an object still lives on the loop */

/* Runs the loop until *flag is true; fails the test after timeout_ms. */
#define fwt_run_until(flag, timeout_ms) fwt_run_until_at((flag), (timeout_ms), __FILE__, __LINE__)
void fwt_run_until_at(const volatile bool *flag, unsigned timeout_ms, const char *file, int line);
/* Runs the loop until *count reaches a number. */
#define fwt_run_count(count, wanted, timeout_ms)                                                   \
    fwt_run_count_at((count), (wanted), (timeout_ms), __FILE__, __LINE__)
void fwt_run_count_at(const volatile size_t *count, size_t wanted, unsigned timeout_ms,
                      const char *file, int line);
/* Runs the loop for a time: only to see that something does NOT happen. */
void fwt_run_for(unsigned ms);

/* As ck_assert, for loops of many thousand rounds: ck_assert writes to a file each time. */
#define fwt_check(expr)                                                                            \
    do {                                                                                           \
        if (!(expr))                                                                               \
            ck_abort_msg("%s", #expr);                                                             \
    } while (0)
#define FWT_OK(expr)                                                                               \
    do {                                                                                           \
        int fwt_rc_ = (expr);                                                                      \
        ck_assert_msg(fwt_rc_ == 0, "%s: %s", #expr, fw_strerror(fwt_rc_));                        \
    } while (0)
#define FWT_ERR(expr, code)                                                                        \
    do {                                                                                           \
        int fwt_rc_ = (expr);                                                                      \
        ck_assert_msg(fwt_rc_ == (code), "%s: wanted %s, got %s", #expr, fw_error_name(code),      \
                      fw_error_name(fwt_rc_));                                                     \
    } while (0)

/* Runs a suite and ends the program: main() { return fwt_main(suite); } */
int fwt_main(Suite *suite);
/* A case with the loop fixture and a timeout. */
TCase *fwt_tcase(Suite *suite, const char *name, double timeout_s);

/* ---- files ---- */
/* A new empty directory below $TMPDIR (or /dev/shm if it is large, else /tmp), removed when the
 * test program ends. */
const char *fwt_tmpdir(void);
/* Path of a file below tests/, as "vectors/walle/packets.json". Static storage. */
const char *fwt_source_path(const char *relative);
/* The golden vectors of a folder ("fastway") below tests/vectors: the names of its .json files that
 * begin with a prefix (""), without the ending, in the order of the alphabet. Ends the program if
 * there is none, or more than most. */
#define FWT_VECTOR_NAME_BYTES 64
int fwt_vector_names(const char *folder, const char *prefix,
                     char (*ret_names)[FWT_VECTOR_NAME_BYTES], int most);

/* ---- child processes ---- */
typedef struct fwt_proc fwt_proc;
/* Starts argv[0] (NULL-terminated argv) with stdout and stderr read by us. It dies with the test
 * program. */
fwt_proc *fwt_proc_start(const char *const *argv);
pid_t fwt_proc_pid(const fwt_proc *proc);
/* Sends a signal; after SIGSTOP the process has really stopped. */
void fwt_proc_signal(fwt_proc *proc, int sig);
/* Waits until a line of its output (stdout and stderr together) contains text, and returns that
 * line, valid until the next call; fails the test after timeout_ms. Lines before it are passed
 * over. */
const char *fwt_proc_expect(fwt_proc *proc, const char *text, unsigned timeout_ms);
/* True if everything that it has printed so far contains text. */
bool fwt_proc_printed(fwt_proc *proc, const char *text);
/* Waits for its end: exit code, or 128 + signal. Fails the test after timeout_ms. */
int fwt_proc_wait(fwt_proc *proc, unsigned timeout_ms);
/* SIGKILL if it still runs, and frees. */
void fwt_proc_end(fwt_proc *proc);
/* Runs to the end: returns the exit code; *ret_out and *ret_err (optional) get the outputs, to be
 * freed. */
int fwt_run(const char *const *argv, const char *input, char **ret_out, char **ret_err,
            unsigned timeout_ms);

/* ---- servers ---- */
int fwt_free_port(void);
/* A real etcd on free ports with temporary data. Fails the test program if there is none. */
typedef struct fwt_etcd {
    fwt_proc *proc;
    int port, peer_port;
    char data_dir[256];
    int health_port;     /* without TLS; 0: port */
    char tls[3][256];    /* files: certificate, key, who must have signed the clients' ("": none) */
    const char *cluster; /* all members, as etcd wants it; NULL: it is alone */
    char name[16];
    /* Of etcd, besides, from the next restart on: NULL-terminated, or NULL. */
    const char *const *options;
} fwt_etcd;
void fwt_etcd_start(fwt_etcd *etcd);
/* It speaks TLS with its clients; client_ca (may be NULL) must have signed their certificates. */
void fwt_etcd_start_tls(fwt_etcd *etcd, const char *cert, const char *key, const char *client_ca);
void fwt_etcd_restart(fwt_etcd *etcd); /* on the same data, after fwt_etcd_kill */
void fwt_etcd_kill(fwt_etcd *etcd);    /* SIGKILL */
/* Makes the user root and switches users on (a server without TLS). */
void fwt_etcd_enable_users(const fwt_etcd *etcd, const char *password);
/* Runs etcdctl; returns its output, to be freed. Its failure fails the test. */
char *fwt_etcdctl(int port, const char *const *args);
/* Revokes a lease by hand; that it has ended already is no failure. */
void fwt_etcd_revoke(int port, int64_t lease);

/* How many calls of a method ("Range") the server has seen, by its own count. */
unsigned long fwt_etcd_calls(int port, const char *method);
/* Any of its counts: the first whose line at /metrics begins with name. 0: there is none. */
unsigned long fwt_etcd_metric(int port, const char *name);

/* Three members of one cluster. Each may be killed, restarted, or sent signals by itself. */
#define FWT_ETCD_MEMBERS 3
typedef struct fwt_etcd_cluster {
    fwt_etcd members[FWT_ETCD_MEMBERS];
    char initial[400];
} fwt_etcd_cluster;
void fwt_etcd_cluster_start(fwt_etcd_cluster *cluster);
void fwt_etcd_cluster_end(fwt_etcd_cluster *cluster);     /* SIGKILL to all */
void fwt_etcd_cluster_restart(fwt_etcd_cluster *cluster); /* all, on the same data, after the end */
/* Which member leads; waits until one does. */
size_t fwt_etcd_cluster_leader(fwt_etcd_cluster *cluster);
/* Writes etcd://host:port,.../PATH for all members. */
void fwt_etcd_cluster_url(const fwt_etcd_cluster *cluster, const char *path, char *ret_url,
                          size_t size);

/* Makes DIR/NAME.pem and DIR/NAME.key: signed by the authority of that name in DIR, for names as in
 * openssl's subjectAltName ("IP:127.0.0.1,DNS:localhost"), or an authority itself if authority is
 * NULL. With 0 days it is over a second later. */
void fwt_certificate(const char *dir, const char *name, const char *authority, const char *names,
                     int days);

/* ---- faults ---- */
/* A relay on a free loopback port in front of a target port, with a thread of its own. Each call
 * returns when it has taken effect. */
typedef struct fwt_proxy fwt_proxy;
typedef enum fwt_proxy_way {
    FWT_PROXY_REQUESTS = 1, /* from the clients to the target */
    FWT_PROXY_REPLIES = 2,
    FWT_PROXY_BOTH = 3
} fwt_proxy_way;
fwt_proxy *fwt_proxy_start(int target);
/* Listens on another address of this machine ("10.0.0.1"). */
fwt_proxy *fwt_proxy_start_at(const char *address, int target);
int fwt_proxy_port(const fwt_proxy *proxy);
/* Ends every fault. Connections that have lost bytes are reset; the others go on. */
void fwt_proxy_pass(fwt_proxy *proxy);
/* New connections are refused; those that are there go on. */
void fwt_proxy_refuse(fwt_proxy *proxy);
/* Ends all connections, with a reset or with an orderly end (what is on its way is lost). */
void fwt_proxy_cut(fwt_proxy *proxy, bool reset);
/* Nothing is read and nothing written in these ways (fwt_proxy_way), on connections that are there
 * and on new ones; these are accepted. 0: none is frozen. What was on its way goes on later. */
void fwt_proxy_freeze(fwt_proxy *proxy, unsigned ways);
/* Of what the target replies on each connection, only the next bytes are passed on; the rest is
 * lost. Requests reach the target. */
void fwt_proxy_swallow(fwt_proxy *proxy, size_t after_bytes);
/* Everything comes later by this time. */
void fwt_proxy_delay(fwt_proxy *proxy, unsigned ms);
/* Where new connections go. */
void fwt_proxy_target(fwt_proxy *proxy, int port);
size_t fwt_proxy_connections(fwt_proxy *proxy);
void fwt_proxy_end(fwt_proxy *proxy);

/* A real Redis on a free port, with an append-only file. Fails the test program if there is none.
 */
typedef struct fwt_redis {
    fwt_proc *proc;
    int port;
    const char *const *options; /* of redis-server, besides: NULL-terminated, or NULL */
    char data_dir[256];
} fwt_redis;
void fwt_redis_start(fwt_redis *redis, const char *const *options);
void fwt_redis_restart(fwt_redis *redis); /* on the same data, after fwt_redis_kill */
void fwt_redis_kill(fwt_redis *redis);    /* SIGKILL */

/* ---- ZooKeeper ---- */
#define FWT_ZOOKEEPER_MAX_SESSION_MS 120000
#define FWT_ZOOKEEPER_PACKET_BYTES   (8 * 1024 * 1024)
/* A real ZooKeeper server on a free port with temporary data. Fails the test program if there is
 * none. */
typedef struct fwt_zookeeper {
    fwt_proc *proc;
    int port;
    char data_dir[256];
} fwt_zookeeper;
void fwt_zookeeper_start(fwt_zookeeper *zookeeper);
void fwt_zookeeper_restart(fwt_zookeeper *zookeeper); /* on the same data, after a kill */
void fwt_zookeeper_kill(fwt_zookeeper *zookeeper);    /* SIGKILL */

/* ---- bytes ---- */
/* Decodes hex into memory to be freed. */
uint8_t *fwt_unhex(const char *hex, size_t *ret_len);
/* Fails the test if the bytes differ, showing both as hex. */
void fwt_assert_bytes(const void *got, size_t got_len, const void *wanted, size_t wanted_len,
                      const char *what);
/* A whole file, NUL-terminated, to be freed. Fails the test if it cannot be read. */
char *fwt_read_file(const char *path);

#endif

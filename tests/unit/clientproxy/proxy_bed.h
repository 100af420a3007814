/* What the tests of the proxy share: real servers on the reference store, and a proxy to them. */
#ifndef PROXY_BED_H
#define PROXY_BED_H

#include "fwt.h"

#include <fairway/clientproxy.h>

#define SERVERS 3

struct node {
    char id[16];
    const char *zone;
    bool unwell; /* when it is asked for its health */
    bool broken; /* answers with an error that is not an application's */
    fw_rpc_router *router;
    fw_rpc_server *server;
    char url[64];
    fw_registrar *registrar;
    size_t calls, notes;
    fw_rpc_request *kept;
};

extern fw_kv *kv;
extern fw_proxy *proxy;
extern struct node nodes[SERVERS];
/* What happened. */
extern size_t closed, ok, failed, ended, connected, disconnected, added, removed, unhealthy,
    healthy, ejected, readmitted, panics, calms;
extern int last_status;
extern char last_instance[16];

/* Starts and registers so many servers "n0", ..., and a proxy. */
void bed_setup(int count, const fw_proxy_options *wanted);
void bed_teardown(void);
void bed_start_server(struct node *node);
void bed_stop_server(struct node *node);
void bed_register(struct node *node);
void bed_leave(struct node *node);
/* Calls "echo", "keep" (answered by the test), "note". */
int bed_call(const char *method, uint32_t timeout_ms);
int bed_call_with(const char *method, const fw_proxy_call_options *options);
void bed_call_until_ended(const char *method);
void bed_on_echo(fw_rpc_request *request, void *arg);
void bed_on_done(const fw_rpc_result *result, const fw_instance *instance, void *arg);
void bed_on_closed(void *arg);

#endif

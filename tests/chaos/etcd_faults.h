/* An etcd for the scenarios of both its drivers, and what can happen to etcd only. */
#ifndef CHAOS_ETCD_FAULTS_H
#define CHAOS_ETCD_FAULTS_H

#include "chaos.h"

void etcd_start(chaos_stage *chaos);
void etcd_stop(chaos_stage *chaos);
int etcd_port(chaos_stage *chaos);
void etcd_kill(chaos_stage *chaos);
void etcd_restart(chaos_stage *chaos);
void etcd_signal(chaos_stage *chaos, int sig);
void etcd_wipe(chaos_stage *chaos);
/* Writes SCHEME://127.0.0.1:PORT/chaos, or all members where there is a cluster. */
void etcd_url(const char *scheme, int port, char *url, size_t size);

/* Starts, in place of etcd_start. */
void etcd_start_cluster(chaos_stage *chaos);
void etcd_start_with_users(chaos_stage *chaos);
/* Of a cluster: SIGKILL to its leader, which is returned. */
fwt_etcd *etcd_kill_leader(chaos_stage *chaos);

/* History is compacted away while clients are cut off: they need a RESYNC. */
void etcd_compacted(chaos_stage *chaos);
/* The alarm NOSPACE is raised, and cleared. */
void etcd_no_space(chaos_stage *chaos);
/* With users: nobody may idle for so long as a token lives; a restart forgets all tokens. */
void etcd_token_expired(chaos_stage *chaos);
/* With a cluster: the others elect a leader, and the clients find it. */
void etcd_leader_killed(chaos_stage *chaos);
/* The leader accepts connections and does nothing. */
void etcd_leader_hung(chaos_stage *chaos);
/* One member is left alone: it answers, but has no leader. */
void etcd_minority(chaos_stage *chaos);

#endif

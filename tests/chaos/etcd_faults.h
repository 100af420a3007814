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

/* History is compacted away while clients are cut off: they need a RESYNC. */
void etcd_compacted(chaos_stage *chaos);
/* The alarm NOSPACE is raised, and cleared. */
void etcd_no_space(chaos_stage *chaos);

#endif

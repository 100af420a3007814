/* The transport snet; see README.md. */
#ifndef FWI_SNET_H
#define FWI_SNET_H

#include "transport/transport.h"

int fwi_snet_dial(fw_loop *loop, const fw_url *url, const fw_conn_options *options,
                  fw_conn **ret_conn);
int fwi_snet_listen(fw_loop *loop, const fw_url *url, const fw_listener_options *options,
                    fw_listener **ret_listener);

#endif

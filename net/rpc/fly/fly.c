#include "rpc/fly/fly.h"

#include <fairway/error.h>

const fwi_fly_bits fwi_fly_v0_bits = {.request = 1, .response = 2, .error = 4};

/* ---- flags ---- */

static uint8_t style_of(uint8_t flag)
{
    if ((flag & FWI_FLY_TYPE) == FWI_FLY_RPC)
        return FWI_FLY_RPC;
    if ((flag & FWI_FLY_RPC_README) == FWI_FLY_RPC_README)
        return FWI_FLY_RPC_README;
    return 0;
}

void fwi_fly_read_flag(const fwi_fly_bits *bits, uint8_t flag, fwi_rpc_packet *packet)
{
    uint8_t style = style_of(flag);
    packet->flags = style;
    packet->is_error = false;
    packet->kind = FWI_RPC_KIND_IGNORED; /* hello, message queues: never built */
    if (!style) {
        if ((flag & 0xf0) == FWI_FLY_PING_TYPE && flag & 1)
            packet->kind = FWI_RPC_KIND_PING; /* also with the bit of a pong */
        else if ((flag & 0xf0) == FWI_FLY_PING_TYPE && flag & 2)
            packet->kind = FWI_RPC_KIND_PONG;
    } else if (flag & bits->response) {
        packet->kind = FWI_RPC_KIND_RESPONSE;
        packet->is_error = flag & bits->error;
    } else if (flag & bits->request || !bits->request) {
        packet->kind = FWI_RPC_KIND_REQUEST;
    } else {
        packet->kind = FWI_RPC_KIND_ONEWAY;
    }
}

uint8_t fwi_fly_flag(const fwi_fly_bits *bits, const fwi_rpc_packet *packet)
{
    uint8_t style = packet->flags ? (uint8_t)packet->flags : FWI_FLY_RPC;
    switch (packet->kind) {
    case FWI_RPC_KIND_PING:
        return FWI_FLY_PING;
    case FWI_RPC_KIND_PONG:
        return FWI_FLY_PONG;
    case FWI_RPC_KIND_RESPONSE:
        return (uint8_t)(style | bits->response | (packet->is_error ? bits->error : 0));
    case FWI_RPC_KIND_REQUEST:
        return style | bits->request;
    default:
        return style;
    }
}

bool fwi_fly_opens(uint8_t flag)
{
    return flag == FWI_FLY_RPC || flag == (FWI_FLY_RPC | 1) || flag == FWI_FLY_PING ||
           flag == FWI_FLY_RPC_README || flag == (FWI_FLY_RPC_README | 1);
}

/* ---- errors ---- */

static const struct known_error {
    const char *name;
    uint32_t number;
    int64_t code; /* ours; 0: none */
} known_errors[] = {
    {"NOT_FOUND", 10000, FW_RPC_CODE_NO_METHOD},
    {"TIMEOUT", 1000, FW_RPC_CODE_TIMEOUT},
    {"HANDLER_PANIC", 22000, FW_RPC_CODE_INTERNAL},
    {"TOO_BUSY", 23000, FW_RPC_CODE_BUSY},
    {"MALFORMED", 23001, FW_RPC_CODE_MALFORMED},
    {"UNKNOWN_SUB_TYPE", 10001, 0},
    {"BUFF_TOO_LONG", 11000, 0},
    {"NO_WRITER", 21000, 0},
    {"WRITER_CLOSED", 21001, 0},
    {"NOT_PROTO_MESSAGE", 25010, 0},
};
#define KNOWN_ERRORS (sizeof known_errors / sizeof *known_errors)

static void set_known(const struct known_error *known, fwi_rpc_error *error)
{
    error->code = known->code ? known->code : (int64_t)known->number;
    error->logic = false;
    fwi_rpc_error_set_text(error, known->name, strlen(known->name));
}

int fwi_fly_get_named(fw_slice name, fwi_rpc_error *ret_error)
{
    for (size_t i = 0; i < KNOWN_ERRORS; i++)
        if (fwi_slice_is(name, known_errors[i].name, strlen(known_errors[i].name))) {
            set_known(&known_errors[i], ret_error);
            return FW_OK;
        }
    ret_error->code = 0;
    ret_error->logic = true;
    fwi_rpc_error_set_text(ret_error, name.data, name.len);
    return FW_OK;
}

static const struct known_error *find_ours(const fwi_rpc_error *error)
{
    for (size_t i = 0; i < KNOWN_ERRORS && !error->logic; i++)
        if (known_errors[i].code == error->code)
            return &known_errors[i];
    return NULL;
}

fw_slice fwi_fly_name_of(const fwi_rpc_error *error)
{
    const struct known_error *known = find_ours(error);
    const char *name = known ? known->name : *error->text ? error->text : "ERROR";
    return (fw_slice){name, strlen(name)};
}

void fwi_fly_get_numbered(uint32_t number, fwi_rpc_error *ret_error)
{
    for (size_t i = 0; i < KNOWN_ERRORS; i++)
        if (known_errors[i].number == number) {
            set_known(&known_errors[i], ret_error);
            return;
        }
    *ret_error = (fwi_rpc_error){.code = number, .logic = true};
}

uint32_t fwi_fly_number_of(const fwi_rpc_error *error)
{
    const struct known_error *known = find_ours(error);
    return known ? known->number : (uint32_t)error->code;
}

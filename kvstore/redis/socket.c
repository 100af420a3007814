/*
 * One connection's bytes, on libuv. Of hiredis, it uses the reader and the formatter; its
 * asynchronous context would abort the program when a server answers what nobody asked for.
 *
 * A socket that was dropped says nothing more; its memory goes when libuv has closed it.
 */
#include "redis.h"

#include <fairway/error.h>
#include <string.h>

#define KEEPALIVE_SECONDS 30

struct fwi_redis_socket {
    uv_tcp_t tcp;
    uv_connect_t connect;
    fwi_redis_client *client;
    fwi_redis_link *link; /* NULL: dropped */
    fwi_redis_reader reader;
    uint64_t given; /* bytes, to uv_write */
};

struct write {
    uv_write_t request;
    fwi_redis_socket *socket;
    size_t count;
    fwi_redis_command *commands[];
};

void fwi_redis_command_release(fwi_redis_command *command)
{
    if (--command->references)
        return;
    if (command->is_secret)
        explicit_bzero(command->data, command->len);
    redisFreeCommand(command->data);
    free(command);
}

static void on_closed(uv_handle_t *handle)
{
    fwi_redis_socket *socket = fwi_container_of(handle, fwi_redis_socket, tcp);
    fwi_redis_client *client = socket->client;
    fwi_redis_reader_fini(&socket->reader);
    free(socket);
    fwi_redis_handle_gone(client);
}

void fwi_redis_socket_drop(fwi_redis_socket *socket)
{
    socket->link = NULL;
    uv_close((uv_handle_t *)&socket->tcp, on_closed);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    (void)suggested;
    const fwi_redis_socket *socket = fwi_container_of(handle, fwi_redis_socket, tcp);
    *ret_buf =
        uv_buf_init((char *)fwi_loop_scratch(socket->client->loop), (unsigned)FWI_SCRATCH_BYTES);
}

static void deliver(fwi_redis_socket *socket)
{
    redisReader *reader = socket->reader.reader;
    while (socket->link) {
        void *reply = NULL;
        if (redisReaderGetReply(reader, &reply) != REDIS_OK) {
            fwi_redis_link_on_broken(socket->link, reader->errstr);
            return;
        }
        if (!reply)
            break;
        fwi_redis_link_on_reply(socket->link, reply);
        freeReplyObject(reply);
    }
    if (socket->link && fwi_redis_reader_is_full(&socket->reader))
        fwi_redis_link_on_broken(socket->link, "reply over the limit");
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    fwi_redis_socket *socket = fwi_container_of(stream, fwi_redis_socket, tcp);
    if (!socket->link || !n)
        return;
    if (n < 0) {
        fwi_redis_link_on_broken(socket->link, n == UV_EOF ? "the server closed the connection"
                                                           : uv_strerror((int)n));
        return;
    }
    fwi_redis_link_on_heard(socket->link);
    if (redisReaderFeed(socket->reader.reader, buf->base, (size_t)n) != REDIS_OK) {
        fwi_redis_link_on_broken(socket->link, "no memory for the reply");
        return;
    }
    deliver(socket);
}

static void on_connected(uv_connect_t *request, int status)
{
    fwi_redis_socket *socket = fwi_container_of(request, fwi_redis_socket, connect);
    if (!socket->link)
        return;
    if (!status) {
        uv_tcp_nodelay(&socket->tcp, 1);
        uv_tcp_keepalive(&socket->tcp, 1, KEEPALIVE_SECONDS);
        status = uv_read_start((uv_stream_t *)&socket->tcp, on_alloc, on_read);
    }
    fwi_redis_link_on_connected(socket->link, status);
}

int fwi_redis_socket_new(fwi_redis_link *link, const struct sockaddr *address,
                         fwi_redis_socket **ret_socket)
{
    fwi_redis_socket *socket = calloc(1, sizeof *socket);
    if (!socket)
        return UV_ENOMEM;
    socket->client = link->client;
    int err = fwi_redis_reader_init(&socket->reader);
    if (!err) {
        err = uv_tcp_init(fw_loop_uv(link->client->loop), &socket->tcp);
        if (err)
            fwi_redis_reader_fini(&socket->reader);
    }
    if (err) {
        free(socket);
        return err;
    }
    link->client->handles++;
    err = uv_tcp_connect(&socket->connect, &socket->tcp, address, on_connected);
    if (err) {
        fwi_redis_socket_drop(socket);
        return err;
    }
    socket->link = link;
    *ret_socket = socket;
    return FW_OK;
}

static void write_free(struct write *write)
{
    for (size_t i = 0; i < write->count; i++)
        fwi_redis_command_release(write->commands[i]);
    free(write);
}

static void on_written(uv_write_t *request, int status)
{
    struct write *write = fwi_container_of(request, struct write, request);
    fwi_redis_socket *socket = write->socket;
    write_free(write);
    if (!socket->link)
        return;
    if (status)
        fwi_redis_link_on_broken(socket->link, uv_strerror(status));
    else
        fwi_redis_link_on_written(socket->link);
}

int fwi_redis_socket_write(fwi_redis_socket *socket, fwi_redis_command *const *commands,
                           size_t count)
{
    struct write *write = malloc(sizeof *write + count * sizeof *write->commands);
    uv_buf_t *buffers = malloc(count * sizeof *buffers);
    int err = write && buffers ? FW_OK : UV_ENOMEM;
    size_t bytes = 0;
    if (!err) {
        *write = (struct write){.socket = socket, .count = count};
        for (size_t i = 0; i < count; i++) {
            write->commands[i] = commands[i];
            commands[i]->references++;
            buffers[i] = uv_buf_init(commands[i]->data, (unsigned)commands[i]->len);
            bytes += commands[i]->len;
        }
        err = uv_write(&write->request, (uv_stream_t *)&socket->tcp, buffers, (unsigned)count,
                       on_written);
        if (err)
            write_free(write);
    } else {
        free(write);
    }
    free(buffers);
    if (!err)
        socket->given += bytes;
    return err;
}

uint64_t fwi_redis_socket_given(const fwi_redis_socket *socket)
{
    return socket->given;
}

uint64_t fwi_redis_socket_handed_over(const fwi_redis_socket *socket)
{
    return socket->given - fwi_redis_socket_backlog(socket);
}

size_t fwi_redis_socket_backlog(const fwi_redis_socket *socket)
{
    return uv_stream_get_write_queue_size((const uv_stream_t *)&socket->tcp);
}

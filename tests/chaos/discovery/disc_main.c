/* The scenarios of discovery on one store: test_chaos_disc_NAME. */
#include "disc.h"
#include "runner.h"

#include <stdlib.h>
#include <string.h>

/* The last has no name. */
static const disc_scenario *scenario_at(size_t index)
{
    static const disc_scenario none;
    if (disc_this_driver.has_server)
        for (const disc_scenario *scenario = disc_server_scenarios; scenario->name; scenario++)
            if (!index--)
                return scenario;
    return disc_this_driver.scenarios ? &disc_this_driver.scenarios[index] : &none;
}

static const char *scenario_name(size_t index)
{
    return scenario_at(index)->name;
}

static void run(size_t index, uint64_t seed, const char *self)
{
    static disc_stage stage;
    stage.scenario = scenario_at(index);
    stage.chaos.driver = &chaos_this_driver;
    stage.chaos.self = self;
    stage.chaos.seed = seed;
    stage.chaos.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    disc_direct(&stage);
}

static disc_sheet *open_sheet(const char *path)
{
    disc_sheet *sheet = disc_sheet_open(path);
    if (!sheet) {
        perror(path);
        exit(2);
    }
    return sheet;
}

static int role(int argc, char **argv)
{
    int rc = -1;
    if (argc == 7 && !strcmp(argv[1], "registrars")) {
        disc_sheet *sheet = open_sheet(argv[3]);
        rc = disc_registrars_run(argv[2], sheet, (uint32_t)strtoul(argv[4], NULL, 10),
                                 (uint32_t)strtoul(argv[5], NULL, 10),
                                 (uint32_t)strtoul(argv[6], NULL, 10));
        disc_sheet_close(sheet);
    } else if (argc == 5 && !strcmp(argv[1], "watchers")) {
        disc_sheet *sheets[] = {open_sheet(argv[3]), open_sheet(argv[4])};
        rc = disc_watchers_run(argv[2], sheets);
        disc_sheet_close(sheets[0]);
        disc_sheet_close(sheets[1]);
    }
    return rc;
}

int main(int argc, char **argv)
{
    char name[40];
    snprintf(name, sizeof name, "discovery on %s", disc_this_driver.name);
    const chaos_program program = {.name = name,
                                   .jobs = 4,
                                   .limit_s = 200,
                                   .shown = "measured: ",
                                   .scenario_name = scenario_name,
                                   .run = run,
                                   .role = role};
    return chaos_main(&program, argc, argv);
}

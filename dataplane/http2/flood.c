/* Frames that cost the peer nothing and us something are counted per kind; too many end the connection with ENHANCE_YOUR_CALM.
 *
 * There is no clock here, so a count is worked off by what an honest peer causes: DATA and HEADERS that mean something in either
 * direction, answers, and turns of the caller (each asks for the control output once).  A flood brings dozens of frames a turn
 * and nothing else.  What is slower than FLOOD_TURN a turn is the session's to police: it knows the time. */
#include "internal.h"

#define FLOOD_TURN     4
#define FLOOD_PROGRESS 4

static const struct {
    uint16_t limit;
    const char *text;
} kinds[FLOOD_KINDS] = {
    [FLOOD_RESET] = {2000, "too many resets before an answer"}, /* CVE-2023-44487, and resets that we were made to send */
    [FLOOD_PING] = {1000, "too many PING frames"},              /* CVE-2019-9512 */
    [FLOOD_SETTINGS] = {200, "too many SETTINGS frames"},       /* CVE-2019-9515 */
    [FLOOD_EMPTY] = {1000, "too many empty DATA frames"},       /* CVE-2019-9518 */
    [FLOOD_PRIORITY] = {2000, "too many PRIORITY frames"},      /* CVE-2019-9513 */
    [FLOOD_WINDOW] = {20000, "too many WINDOW_UPDATE frames"},
    [FLOOD_OTHER] = {5000, "too many frames without effect"},
};

bool http2_flood(struct http2_conn *c, enum flood kind, struct http2_event *ev)
{
    if (++c->flood[kind] <= kinds[kind].limit)
        return true;
    stats_drop(c->h->stats, STATS_DROP_H2_FLOOD);
    http2_fatal(c, ev, HTTP2_ENHANCE_YOUR_CALM, kinds[kind].text);
    return false;
}

static void work_off(struct http2_conn *c, enum flood kind, uint32_t n)
{
    c->flood[kind] = (uint16_t)(c->flood[kind] > n ? c->flood[kind] - n : 0);
}

void http2_flood_progress(struct http2_conn *c)
{
    for (int kind = FLOOD_RESET + 1; kind < FLOOD_KINDS; kind++)
        work_off(c, (enum flood)kind, FLOOD_PROGRESS);
}

void http2_flood_answered(struct http2_conn *c)
{
    work_off(c, FLOOD_RESET, 1);
}

void http2_flood_turn(struct http2_conn *c)
{
    for (int kind = 0; kind < FLOOD_KINDS; kind++)
        work_off(c, (enum flood)kind, FLOOD_TURN);
}

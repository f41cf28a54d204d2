// Made by Scripts/list-page-files: the files of Sources/CallPage/www as arrays in the program.
// #embed costs no compile time, where a Swift array literal of this size costs half a minute.
#include "CCallPage.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char base_css[] = {
#embed "../CallPage/www/base.css"
};
static const unsigned char call_css[] = {
#embed "../CallPage/www/call.css"
};
static const unsigned char call_js[] = {
#embed "../CallPage/www/call.js"
};
static const unsigned char candidates_js[] = {
#embed "../CallPage/www/candidates.js"
};
static const unsigned char chat_js[] = {
#embed "../CallPage/www/chat.js"
};
static const unsigned char chatview_js[] = {
#embed "../CallPage/www/chatview.js"
};
static const unsigned char details_js[] = {
#embed "../CallPage/www/details.js"
};
static const unsigned char dom_js[] = {
#embed "../CallPage/www/dom.js"
};
static const unsigned char files_js[] = {
#embed "../CallPage/www/files.js"
};
static const unsigned char icon_svg[] = {
#embed "../CallPage/www/icon.svg"
};
static const unsigned char index_html[] = {
#embed "../CallPage/www/index.html"
};
static const unsigned char lobby_css[] = {
#embed "../CallPage/www/lobby.css"
};
static const unsigned char lobby_js[] = {
#embed "../CallPage/www/lobby.js"
};
static const unsigned char main_js[] = {
#embed "../CallPage/www/main.js"
};
static const unsigned char media_js[] = {
#embed "../CallPage/www/media.js"
};
static const unsigned char panel_css[] = {
#embed "../CallPage/www/panel.css"
};
static const unsigned char panels_js[] = {
#embed "../CallPage/www/panels.js"
};
static const unsigned char peer_js[] = {
#embed "../CallPage/www/peer.js"
};
static const unsigned char problems_js[] = {
#embed "../CallPage/www/problems.js"
};
static const unsigned char protocol_js[] = {
#embed "../CallPage/www/protocol.js"
};
static const unsigned char recovery_js[] = {
#embed "../CallPage/www/recovery.js"
};
static const unsigned char report_js[] = {
#embed "../CallPage/www/report.js"
};
static const unsigned char senders_js[] = {
#embed "../CallPage/www/senders.js"
};
static const unsigned char sequence_js[] = {
#embed "../CallPage/www/sequence.js"
};
static const unsigned char signaling_js[] = {
#embed "../CallPage/www/signaling.js"
};
static const unsigned char statistics_js[] = {
#embed "../CallPage/www/statistics.js"
};
static const unsigned char tile_js[] = {
#embed "../CallPage/www/tile.js"
};
static const unsigned char tiles_js[] = {
#embed "../CallPage/www/tiles.js"
};
static const unsigned char timeline_js[] = {
#embed "../CallPage/www/timeline.js"
};
static const unsigned char timers_js[] = {
#embed "../CallPage/www/timers.js"
};

static const floe_page_file page_files[] = {
    {"base.css", "text/css; charset=utf-8", base_css, sizeof base_css},
    {"call.css", "text/css; charset=utf-8", call_css, sizeof call_css},
    {"call.js", "text/javascript; charset=utf-8", call_js, sizeof call_js},
    {"candidates.js", "text/javascript; charset=utf-8", candidates_js, sizeof candidates_js},
    {"chat.js", "text/javascript; charset=utf-8", chat_js, sizeof chat_js},
    {"chatview.js", "text/javascript; charset=utf-8", chatview_js, sizeof chatview_js},
    {"details.js", "text/javascript; charset=utf-8", details_js, sizeof details_js},
    {"dom.js", "text/javascript; charset=utf-8", dom_js, sizeof dom_js},
    {"files.js", "text/javascript; charset=utf-8", files_js, sizeof files_js},
    {"icon.svg", "image/svg+xml", icon_svg, sizeof icon_svg},
    {"index.html", "text/html; charset=utf-8", index_html, sizeof index_html},
    {"lobby.css", "text/css; charset=utf-8", lobby_css, sizeof lobby_css},
    {"lobby.js", "text/javascript; charset=utf-8", lobby_js, sizeof lobby_js},
    {"main.js", "text/javascript; charset=utf-8", main_js, sizeof main_js},
    {"media.js", "text/javascript; charset=utf-8", media_js, sizeof media_js},
    {"panel.css", "text/css; charset=utf-8", panel_css, sizeof panel_css},
    {"panels.js", "text/javascript; charset=utf-8", panels_js, sizeof panels_js},
    {"peer.js", "text/javascript; charset=utf-8", peer_js, sizeof peer_js},
    {"problems.js", "text/javascript; charset=utf-8", problems_js, sizeof problems_js},
    {"protocol.js", "text/javascript; charset=utf-8", protocol_js, sizeof protocol_js},
    {"recovery.js", "text/javascript; charset=utf-8", recovery_js, sizeof recovery_js},
    {"report.js", "text/javascript; charset=utf-8", report_js, sizeof report_js},
    {"senders.js", "text/javascript; charset=utf-8", senders_js, sizeof senders_js},
    {"sequence.js", "text/javascript; charset=utf-8", sequence_js, sizeof sequence_js},
    {"signaling.js", "text/javascript; charset=utf-8", signaling_js, sizeof signaling_js},
    {"statistics.js", "text/javascript; charset=utf-8", statistics_js, sizeof statistics_js},
    {"tile.js", "text/javascript; charset=utf-8", tile_js, sizeof tile_js},
    {"tiles.js", "text/javascript; charset=utf-8", tiles_js, sizeof tiles_js},
    {"timeline.js", "text/javascript; charset=utf-8", timeline_js, sizeof timeline_js},
    {"timers.js", "text/javascript; charset=utf-8", timers_js, sizeof timers_js},
};

size_t floe_page_file_count(void) { return sizeof page_files / sizeof page_files[0]; }

floe_page_file floe_page_file_at(size_t index) { return page_files[index]; }

/* report_page: the page of the HTML report, in front of its data and behind them. */
#pragma once

extern const char report_page_before[];
extern const char report_page_after[];

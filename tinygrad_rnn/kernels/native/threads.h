// How many threads a call may use.
#pragma once

namespace tgr {

int get_threads();
void set_threads(int n);
bool threads_asleep();  // no call ended lately, so one that wants threads waits some 60 microseconds for them to wake

}  // namespace tgr

import Diagnostics
import Signaling

/// The page of metrics that consists of these statistics.
func metrics(_ statistics: SignalingStatistics) -> String {
    var page = MetricsText()
    statistics.write(to: &page)
    return page.text
}

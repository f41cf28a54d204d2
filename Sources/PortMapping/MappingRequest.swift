import NetTypes

/// What one protocol is asked to map.
struct MappingRequest: Hashable {
    let id: MappingID
    let transport: MappedTransport
    let internalPort: UInt16
    /// The external address to ask for: the last one that was granted, else unspecified with the port wished for.
    var suggested: SocketAddress
}

/// What one protocol tells the mapper.
enum ClientEvent: Hashable {
    case granted(MappingID, external: SocketAddress, lifetimeSeconds: UInt32)
    case failed(MappingID, PortMappingFailure)
    case lost(MappingID, PortMappingFailure)
    case deleted(MappingID)
    /// The gateway has begun anew: mappings were asked for again.
    case restarted
}

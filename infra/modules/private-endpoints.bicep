// A private address for each service of storage and vault that the worker calls, and the names that
// lead there from inside the network.

param prefix string
param location string
param tags object
param networkId string
param subnetId string

@description('What to reach: a short name, the resource, and the service of it (blob, queue, table, vault).')
param targets { name: string, id: string, service: string }[]

var zones = {
  blob: 'privatelink.blob.${environment().suffixes.storage}'
  queue: 'privatelink.queue.${environment().suffixes.storage}'
  table: 'privatelink.table.${environment().suffixes.storage}'
  // Azure's own table of names has the public one only; this is the private one of the public cloud.
  vault: 'privatelink.vaultcore.azure.net'
}

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for one in items(zones): {
    name: one.value
    location: 'global'
    tags: tags
  }
]

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (one, index) in items(zones): {
    parent: zone[index]
    name: 'worker'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: { id: networkId }
    }
  }
]

resource endpoint 'Microsoft.Network/privateEndpoints@2024-07-01' = [
  for target in targets: {
    name: '${prefix}-${target.name}'
    location: location
    tags: tags
    properties: {
      subnet: { id: subnetId }
      privateLinkServiceConnections: [
        {
          name: target.name
          properties: {
            privateLinkServiceId: target.id
            groupIds: [target.service]
          }
        }
      ]
    }
  }
]

resource names 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-07-01' = [
  for (target, index) in targets: {
    parent: endpoint[index]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: target.service
          properties: {
            privateDnsZoneId: resourceId('Microsoft.Network/privateDnsZones', zones[target.service])
          }
        }
      ]
    }
    dependsOn: [zone]
  }
]

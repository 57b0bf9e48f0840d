// Where logs, traces and metrics go, and who deleted or overwrote what in the archive.

param workspaceName string
param componentName string
param location string
param tags object

@description('Days that logs are kept; dearer beyond 31 for a workspace, beyond 90 for traces.')
@minValue(30)
@maxValue(730)
param retentionDays int

@description('Most gigabytes of logs in a day, so that a fault cannot ruin anybody; -1: no limit.')
param dailyGigabytes int

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: workspaceName
  location: location
  tags: tags
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: retentionDays
    workspaceCapping: { dailyQuotaGb: dailyGigabytes }
  }
}

resource component 'Microsoft.Insights/components@2020-02-02' = {
  name: componentName
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    // Telemetry is taken from identities with a role only: the key in the connection string opens nothing.
    DisableLocalAuth: true
  }
}

// Runs, money, residual, units, refusals and ages on one page, in the portal beside the component.
resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(component.id, 'workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'CSP billing'
    category: 'workbook'
    version: 'Notebook/1.0'
    sourceId: component.id
    serializedData: loadTextContent('../workbook.json')
  }
}

output workspaceId string = workspace.id
output componentName string = component.name
output componentId string = component.id

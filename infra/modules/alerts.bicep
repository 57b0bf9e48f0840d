// Who is told what. The questions are the .kql files of infra/alerts, each with its runbook in
// docs/operations.md; the budget says when the worker itself becomes dear.

param prefix string
param location string
param tags object

@description('What is asked: tables have the names that they have on the Application Insights component.')
param componentId string

@description('Mail addresses; empty: alerts are seen in the portal alone.')
param emails string[]

param budgetAmount int

@description('First of a month as YYYY-MM-01; empty: the budget is left as it is, or is not made.')
param budgetStart string

// Head and body of each file; a test holds these values against the head that people read.
var questions = [
  {
    name: 'poison'
    title: 'Messages were given up'
    severity: 1
    window: 'PT30M'
    every: 'PT5M'
    each: ['queue']
    query: loadTextContent('../alerts/poison.kql')
  }
  {
    name: 'run-failed'
    title: 'A run failed'
    severity: 1
    window: 'PT30M'
    every: 'PT5M'
    each: ['run']
    query: loadTextContent('../alerts/run-failed.kql')
  }
  {
    name: 'residual'
    title: 'Money is not accounted for'
    severity: 1
    window: 'PT1H'
    every: 'PT15M'
    each: ['run', 'currency']
    query: loadTextContent('../alerts/residual.kql')
  }
  {
    name: 'silent'
    title: 'The worker says nothing'
    severity: 1
    window: 'PT1H'
    every: 'PT15M'
    each: []
    query: loadTextContent('../alerts/silent.kql')
  }
  {
    name: 'unit-parked'
    title: 'Work was given up'
    severity: 2
    window: 'PT30M'
    every: 'PT15M'
    each: ['run']
    query: loadTextContent('../alerts/unit-parked.kql')
  }
  {
    name: 'run-late'
    title: 'A run is late'
    severity: 2
    window: 'PT30M'
    every: 'PT15M'
    each: ['run_kind']
    query: loadTextContent('../alerts/run-late.kql')
  }
  {
    name: 'data-age'
    title: 'Data is too old'
    severity: 2
    window: 'PT1H'
    every: 'PT1H'
    each: ['run_kind']
    query: loadTextContent('../alerts/data-age.kql')
  }
  {
    name: 'token'
    title: 'The partner\'s refresh token is old'
    severity: 2
    window: 'PT1H'
    every: 'PT1H'
    each: []
    query: loadTextContent('../alerts/token.kql')
  }
  {
    name: 'throttled'
    title: 'A service refuses us again and again'
    severity: 3
    window: 'PT1H'
    every: 'PT15M'
    each: ['service']
    query: loadTextContent('../alerts/throttled.kql')
  }
]

resource group 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${prefix}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'CSP billing'
    enabled: true
    emailReceivers: [
      for (email, index) in emails: {
        name: 'mail-${index}'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

// A row is something that a person must look at: a row fires, no row resolves.
resource rule 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for question in questions: {
    name: 'alert-${prefix}-${question.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: 'CSP billing: ${question.title}'
      description: 'What to do: docs/operations.md, ${question.name}'
      enabled: true
      severity: question.severity
      scopes: [componentId]
      evaluationFrequency: question.every
      windowSize: question.window
      criteria: {
        allOf: [
          {
            query: question.query
            timeAggregation: 'Count'
            // One alert for each run, queue, kind or service: one that stands keeps no other one quiet.
            dimensions: map(question.each, column => { name: column, operator: 'Include', values: ['*'] })
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      autoMitigate: true
      actions: { actionGroups: [group.id] }
    }
  }
]

// Azure refuses a new budget that begins in a past month, and any other beginning for one that is there.
resource budget 'Microsoft.Consumption/budgets@2023-11-01' = if (budgetAmount > 0 && !empty(budgetStart)) {
  name: 'budget-${prefix}'
  properties: {
    category: 'Cost'
    amount: budgetAmount
    timeGrain: 'Monthly'
    timePeriod: { startDate: '${budgetStart}T00:00:00Z' }
    notifications: {
      most: {
        enabled: true
        operator: 'GreaterThanOrEqualTo'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: emails
        contactGroups: [group.id]
      }
      beyond: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: emails
        contactGroups: [group.id]
      }
    }
  }
}

import { Button, Group, Paper, Stack, Title } from '@mantine/core'
import { IconPlus, IconServer2 } from '@tabler/icons-react'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { Empty } from '../../shared/Empty'
import { Failure } from '../../shared/Failure'
import { Pager } from '../../shared/Pager'
import { useDialog } from '../../shared/useDialog'
import { usePageTitle } from '../../shared/usePageTitle'
import { AgentTable } from './AgentTable'
import type { Agent } from './documents'
import { JoinAgentDialog } from './JoinAgentDialog'
import { RemoveAgentDialog } from './RemoveAgentDialog'
import { SchedulerFaults } from './SchedulerFaults'
import { useAgents } from './useAgents'

/** The nodes of the cluster, for those who keep it. */
export default function AgentsRoute() {
  const { t } = useTranslation()
  const { page, agents, groups, error, go, retry } = useAgents()
  const [joining, setJoining] = useState(false)
  const removal = useDialog<Agent>()
  usePageTitle(t('agents.title'))
  return (
    <Stack gap="md">
      <Group justify="space-between">
        <Title order={1} size="h2">
          {t('agents.title')}
        </Title>
        <Button leftSection={<IconPlus size={16} aria-hidden />} onClick={() => setJoining(true)}>
          {t('agents.add')}
        </Button>
      </Group>
      <SchedulerFaults groups={groups} />
      {error && <Failure error={error} retry={retry} />}
      <Paper className="card" radius="md">
        {page && agents.length === 0 ? (
          <Empty
            icon={IconServer2}
            title={t('agents.empty')}
            hint={t('agents.emptyHint')}
            action={
              <Button mt="sm" onClick={() => setJoining(true)}>
                {t('agents.add')}
              </Button>
            }
          />
        ) : (
          <AgentTable agents={agents} onRemove={removal.open} />
        )}
      </Paper>
      {page && agents.length > 0 && <Pager page={page} onGo={go} />}
      <JoinAgentDialog opened={joining} onClose={() => setJoining(false)} />
      <RemoveAgentDialog agent={removal.about} opened={removal.opened} onClose={removal.close} />
    </Stack>
  )
}

import { Table, VisuallyHidden } from '@mantine/core'
import { useTranslation } from 'react-i18next'
import { AgentRow } from './AgentRow'
import type { Agent } from './documents'
import { useAgentStats } from './useAgentStats'

const COLUMNS = ['name', 'status', 'group', 'slots', 'load', 'kernels', 'schedulable'] as const

export function AgentTable({ agents, onRemove }: { agents: Agent[]; onRemove: (agent: Agent) => void }) {
  const { t } = useTranslation()
  const loads = useAgentStats(agents)
  return (
    <Table.ScrollContainer minWidth={860} type="native" pos="relative">
      <Table verticalSpacing="sm" horizontalSpacing="md">
        <Table.Thead>
          <Table.Tr>
            {COLUMNS.map((name) => (
              <Table.Th key={name}>{t(`agents.${name}`)}</Table.Th>
            ))}
            <Table.Th>
              <VisuallyHidden>{t('agents.remove')}</VisuallyHidden>
            </Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {agents.map((agent) => (
            <AgentRow
              key={agent.id}
              agent={agent}
              stats={loads[agent.id] ?? agent.stats}
              onRemove={() => onRemove(agent)}
            />
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  )
}

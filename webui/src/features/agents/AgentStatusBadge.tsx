import { Badge, Tooltip } from '@mantine/core'
import { IconPlugConnected, IconPlugConnectedX } from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import { moment } from '../../shared/format'
import type { Agent } from './documents'

/** Whether the node is connected; pointed at, when it was last heard of. */
export function AgentStatusBadge({ agent: { status, lastContactAt } }: { agent: Agent }) {
  const { t, i18n } = useTranslation()
  const Icon = status === 'ALIVE' ? IconPlugConnected : IconPlugConnectedX
  return (
    <Tooltip
      label={lastContactAt ? `${t('agents.contact')}: ${moment(lastContactAt, i18n.language)}` : ''}
      disabled={!lastContactAt}
    >
      <Badge
        color={status === 'ALIVE' ? 'teal' : 'orange'}
        variant="light"
        tt="none"
        miw="max-content"
        leftSection={<Icon size={12} aria-hidden />}
      >
        {t(`agents.${status}`)}
      </Badge>
    </Tooltip>
  )
}
